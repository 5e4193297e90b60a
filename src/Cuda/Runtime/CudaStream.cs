using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>A queue of work on a device: what is put on one stream runs in order.</summary>
public sealed class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;

    private readonly CudaHandle? _owned;
    private readonly nint _foreign;

    /// <summary>A new stream that does not wait for the legacy default stream.</summary>
    public CudaStream(CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        Device = device;
        CudaContext context = device.Context;
        context.Check(context.Enter("cuStreamCreate").StreamCreate(out nint stream, NonBlocking, priority: 0), "cuStreamCreate");
        _owned = new StreamHandle(context, stream);
    }

    private CudaStream(CudaDevice device, nint foreign) => (Device, _foreign) = (device, foreign);

    /// <summary>
    /// A stream of another library on the same device, such as the one that a framework works on. It is not destroyed.
    /// </summary>
    /// <param name="device">The device.</param>
    /// <param name="handle">The <c>CUstream</c>; 0 is the legacy default stream.</param>
    public static CudaStream FromHandle(CudaDevice device, nint handle)
    {
        ArgumentNullException.ThrowIfNull(device);
        return new CudaStream(device, handle);
    }

    /// <summary>The device.</summary>
    public CudaDevice Device { get; }

    /// <summary>The <c>CUstream</c>.</summary>
    public nint Handle => _owned?.Value ?? _foreign;

    internal bool IsDisposed => _owned is { IsClosed: true };

    /// <summary>
    /// Whether work on both runs in order. A handle alone does not tell: the driver gives those of destroyed streams out again.
    /// </summary>
    internal bool IsSameQueue(CudaStream other) =>
        ReferenceEquals(this, other)
        || (_owned is null && other._owned is null && _foreign == other._foreign && Device.Ordinal == other.Device.Ordinal);

    /// <summary>Whether the stream's work is being captured into a graph.</summary>
    public bool IsCapturing
    {
        get
        {
            CudaContext context = Device.Context;
            context.Check(context.Enter("cuStreamIsCapturing").StreamIsCapturing(Handle, out int status), "cuStreamIsCapturing");
            return status != 0;
        }
    }

    /// <summary>Throws, before it is begun, what cannot be part of a graph.</summary>
    internal void RefuseCapture(string what)
    {
        if (IsCapturing)
            throw new InvalidOperationException(
                $"{what} cannot be part of a graph. Run the pipeline once on this stream with this shape, then capture.");
    }

    /// <summary>Waits until all work put on the stream is done.</summary>
    /// <exception cref="CudaException">Some of the work failed.</exception>
    public void Synchronize() => Synchronize("cuStreamSynchronize");

    internal void Synchronize(string what)
    {
        CudaContext context = Device.Context;
        context.Check(context.Enter(what).StreamSynchronize(Handle), what);
    }

    /// <summary>Makes later work on this stream wait for an event of another.</summary>
    public void Wait(CudaEvent marker)
    {
        ArgumentNullException.ThrowIfNull(marker);
        CudaContext context = Device.Context;
        context.Check(context.Enter("cuStreamWaitEvent").StreamWaitEvent(Handle, marker.Handle), "cuStreamWaitEvent");
    }

    /// <inheritdoc/>
    public void Dispose() => _owned?.Dispose();

    private sealed class StreamHandle(CudaContext context, nint value) : CudaHandle(context, value)
    {
        protected override CudaResult Release(CudaDriverApi driver, nint value) => driver.StreamDestroy(value);
    }
}

/// <summary>A mark in a stream's work, for waiting and for timing.</summary>
public sealed class CudaEvent : IDisposable
{
    private readonly CudaDevice _device;
    private readonly EventHandle _handle;

    /// <summary>A new event.</summary>
    public CudaEvent(CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        CudaContext context = device.Context;
        context.Check(context.Enter("cuEventCreate").EventCreate(out nint handle, flags: 0), "cuEventCreate");
        _handle = new EventHandle(context, handle);
    }

    internal nint Handle => _handle.Value;

    /// <summary>Puts the mark behind all work on a stream.</summary>
    public void Record(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        CudaContext context = _device.Context;
        context.Check(context.Enter("cuEventRecord").EventRecord(Handle, stream.Handle), "cuEventRecord");
    }

    /// <summary>Waits until the mark is reached.</summary>
    public void Synchronize()
    {
        CudaContext context = _device.Context;
        context.Check(context.Enter("cuEventSynchronize").EventSynchronize(Handle), "cuEventSynchronize");
    }

    /// <summary>Milliseconds from an earlier mark to this one; both must have been reached.</summary>
    public float MillisecondsSince(CudaEvent start)
    {
        ArgumentNullException.ThrowIfNull(start);
        CudaContext context = _device.Context;
        context.Check(
            context.Enter("cuEventElapsedTime").EventElapsed(out float milliseconds, start.Handle, Handle), "cuEventElapsedTime");
        return milliseconds;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private sealed class EventHandle(CudaContext context, nint value) : CudaHandle(context, value)
    {
        protected override CudaResult Release(CudaDriverApi driver, nint value) => driver.EventDestroy(value);
    }
}
