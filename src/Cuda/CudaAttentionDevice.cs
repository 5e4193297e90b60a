using AttnCompose.Cuda;
using AttnCompose.Cuda.Interop;

namespace AttnCompose;

/// <summary>Adds <c>AttentionDevice.Cuda(n)</c>.</summary>
public static class CudaAttentionDevice
{
    extension(AttentionDevice)
    {
        /// <summary>An NVIDIA GPU, tuned as <c>attncompose tune</c> stored it for its model and driver.</summary>
        /// <param name="ordinal">Number of the device, from 0.</param>
        /// <exception cref="CudaUnavailableException">There is no driver, or no such device. The message says what was
        /// tried.</exception>
        public static CudaDevice Cuda(int ordinal = 0)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(ordinal);
            var device = new CudaDevice(NativeCudaDriver.Instance, ordinal);
            device.StoredTunings = [.. TuningFile.Read(device, KernelCache.Default)];
            return device;
        }
    }
}
