using AttnCompose.Cpu;

namespace AttnCompose.Cuda;

/// <summary>A span argument of a pipeline's rules in one call on device memory. Generated code makes it.</summary>
public readonly struct CudaRuleSpan
{
    private readonly object? _tensor;
    private readonly CudaDevice _device;
    private readonly string _name;
    private readonly RuleAxes _axes;
    private readonly bool _hasGaps;

    private CudaRuleSpan(object? tensor, CudaDevice device, DeviceSpan span, string name, RuleAxes axes, bool hasGaps)
    {
        (_tensor, _device, Device) = (tensor, device, span);
        (_name, _axes, _hasGaps) = (name, axes, hasGaps);
    }

    internal DeviceSpan Device { get; }

    /// <summary>A tensor, whose elements are read in the order of storage.</summary>
    /// <param name="tensor">The tensor, without gaps.</param>
    /// <param name="name">Its name, for messages.</param>
    /// <param name="axes">What it has an element for at least.</param>
    public static CudaRuleSpan Of<T>(CudaTensor<T> tensor, string name, RuleAxes axes) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        return new(
            tensor, tensor.Device, new DeviceSpan(tensor.Count == 0 ? 0 : tensor.Pointer, tensor.Count), name, axes,
            tensor.Extent != tensor.Count);
    }

    /// <summary>Elements that were copied to the device already.</summary>
    internal static CudaRuleSpan Copied(CudaDevice device, nint data, int length) =>
        new(null, device, new DeviceSpan(data, length), "", RuleAxes.None, hasGaps: false);

    internal void Check(CudaDevice device, in ProblemShape shape)
    {
        if (_device.Ordinal != device.Ordinal)
            throw new ArgumentException($"{_name} is on {_device.Name}; the pipeline is on {device.Name}.", _name);
        if (_hasGaps)
            throw new ArgumentException($"{_name} has gaps between its elements; a rule reads a tensor without.", _name);
        RuleSpans.Check(_name, _axes, Device.Length, in shape);
    }

    /// <summary>Keeps the tensor from being freed until here.</summary>
    internal void KeepAlive() => GC.KeepAlive(_tensor);
}
