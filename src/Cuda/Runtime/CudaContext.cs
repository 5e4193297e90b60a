using System.Globalization;
using System.Runtime.InteropServices;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>
/// The primary context of a device. It checks every driver call made on it and remembers the first error that the context
/// does not survive; from then on every call fails at once with that cause.
/// </summary>
internal sealed unsafe class CudaContext
{
    private CudaException? _fault;
    private volatile bool _closed;

    public CudaContext(CudaDriverApi driver, int ordinal)
    {
        Driver = driver;
        Check(driver.DeviceGet(out int device, ordinal), "cuDeviceGet");
        Device = device;
        Check(driver.PrimaryContextRetain(out nint context, device), "cuDevicePrimaryCtxRetain");
        Handle = new ContextHandle(driver, device, context);
    }

    public CudaDriverApi Driver { get; }

    /// <summary>The driver's handle of the device.</summary>
    public int Device { get; }

    public ContextHandle Handle { get; }

    /// <summary>The first error that made the context unusable.</summary>
    public CudaException? Fault => Volatile.Read(ref _fault);

    /// <summary>Makes the context current on this thread.</summary>
    /// <exception cref="CudaException">An earlier error made the context unusable.</exception>
    public CudaDriverApi Enter(string call)
    {
        if (Fault is { } fault)
            throw new CudaException(fault, call);
        ObjectDisposedException.ThrowIf(_closed, typeof(CudaDevice));
        Check(MakeCurrent(), "cuCtxSetCurrent");
        return Driver;
    }

    /// <summary>Refuses further calls. The driver's context lives on until everything made on it is released.</summary>
    public void Close()
    {
        _closed = true;
        Handle.Dispose();
    }

    /// <summary>For finalisers: no exception, and no complaint about a context that is lost.</summary>
    public CudaResult MakeCurrent()
    {
        CudaResult result = Driver.ContextGetCurrent(out nint current);
        nint own = Handle.Value;
        return result == CudaResult.Success && current == own ? result : Driver.ContextSetCurrent(own);
    }

    /// <summary>Throws where a call failed.</summary>
    public void Check(CudaResult result, string call, string advice = "")
    {
        if (result != CudaResult.Success)
            throw Failure(result, call, advice);
    }

    public CudaException Failure(CudaResult result, string call, string advice = "")
    {
        (string name, string description) = Driver.Describe(result);
        var exception = new CudaException(result, name, description, call, advice);
        if (result.IsSticky())
            Interlocked.CompareExchange(ref _fault, exception, null);
        return exception;
    }

    /// <summary>Allocates device memory; 0 bytes give an empty block.</summary>
    public DeviceMemory Allocate(long bytes, string purpose)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        CudaDriverApi driver = Enter("cuMemAlloc");
        nint pointer = 0;
        CudaResult result = bytes == 0 ? CudaResult.Success : driver.MemoryAllocate(out pointer, checked((nuint)bytes));
        if (result != CudaResult.Success)
        {
            string room = driver.MemoryInfo(out nuint free, out nuint total) == CudaResult.Success
                ? string.Create(CultureInfo.InvariantCulture, $" {free} of {total} bytes are free.") : "";
            throw Failure(result, "cuMemAlloc", string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes were wanted for {purpose}.{room}"));
        }
        return new DeviceMemory(this, pointer, bytes);
    }

    /// <summary>Copies host memory to the device, and waits until the host memory can be used again.</summary>
    public void Upload(nint destination, void* source, long bytes, CudaStream stream)
    {
        CudaResult result = Enter("cuMemcpyHtoDAsync").CopyToDevice(destination, source, checked((nuint)bytes), stream.Handle);
        Check(result, "cuMemcpyHtoDAsync");
        stream.Synchronize();
    }

    /// <summary>Copies device memory to the host behind all work on a stream, and waits until it is there.</summary>
    public void Download(void* destination, nint source, long bytes, CudaStream stream)
    {
        CudaResult result = Enter("cuMemcpyDtoHAsync").CopyToHost(destination, source, checked((nuint)bytes), stream.Handle);
        Check(result, "cuMemcpyDtoHAsync");
        stream.Synchronize();
    }

    /// <summary>A retained primary context; released when everything made on it is.</summary>
    internal sealed class ContextHandle : SafeHandle
    {
        private readonly CudaDriverApi _driver;
        private readonly int _device;

        public ContextHandle(CudaDriverApi driver, int device, nint context)
            : base(0, ownsHandle: true)
        {
            (_driver, _device) = (driver, device);
            SetHandle(context);
        }

        public nint Value => handle;

        public override bool IsInvalid => handle == 0;

        protected override bool ReleaseHandle() => _driver.PrimaryContextRelease(_device) == CudaResult.Success;
    }
}

/// <summary>
/// A driver object that this process owns. It keeps its context alive, and its release, which may run on the finaliser's
/// thread, makes the context current there and never throws.
/// </summary>
internal abstract class CudaHandle : SafeHandle
{
    protected CudaHandle(CudaContext context, nint value)
        : base(0, ownsHandle: true)
    {
        Context = context;
        bool added = false;
        context.Handle.DangerousAddRef(ref added);
        SetHandle(value);
    }

    public CudaContext Context { get; }

    public override bool IsInvalid => false; // an empty block of memory still holds its context

    /// <summary>The driver's handle.</summary>
    /// <exception cref="ObjectDisposedException">It was released.</exception>
    public nint Value
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return handle;
        }
    }

    protected abstract CudaResult Release(CudaDriverApi driver, nint value);

    protected sealed override bool ReleaseHandle()
    {
        CudaResult result = handle == 0 ? CudaResult.Success : Context.MakeCurrent();
        if (result == CudaResult.Success && handle != 0)
            result = Release(Context.Driver, handle);
        Context.Handle.DangerousRelease();
        return result == CudaResult.Success;
    }
}

/// <summary>Device memory. Freeing it waits for the kernels that may still use it.</summary>
internal sealed class DeviceMemory(CudaContext context, nint pointer, long bytes) : CudaHandle(context, pointer)
{
    public long Bytes { get; } = bytes;

    protected override CudaResult Release(CudaDriverApi driver, nint value) => driver.MemoryFree(value);
}
