using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace AttnCompose.Cpu;

/// <summary>The CPU: vector width and a pool of persistent workers that the pipelines on this device share.</summary>
public sealed class CpuDevice : AttentionDevice
{
    internal CpuDevice(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(threads, 1024);
        Workers = new CpuWorkers(threads == 0 ? Environment.ProcessorCount : threads);
    }

    /// <inheritdoc/>
    public override string Name => "cpu";

    /// <inheritdoc/>
    public override string Description =>
        $"{RuntimeInformation.ProcessArchitecture}, {VectorBits}-bit vectors, {Workers.Count} {(Workers.Count == 1 ? "worker" : "workers")}";

    /// <summary>The workers.</summary>
    public CpuWorkers Workers { get; }

    /// <summary>Width of the vectors that kernels use: 512, 256 or 128.</summary>
    public static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            Workers.Dispose();
    }
}
