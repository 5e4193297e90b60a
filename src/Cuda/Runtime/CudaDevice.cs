using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>
/// An NVIDIA GPU, by its primary context, so that memory and streams of other libraries in the process can be used. Calls
/// make that context current on the calling thread and leave it so.
/// </summary>
public sealed class CudaDevice : AttentionDevice
{
    /// <summary>CUDA 12.0, the first with graph updates and tensor maps as they are used here.</summary>
    private const int LeastDriver = 12_000;

    private readonly Lock _gate = new();
    private readonly ConcurrentDictionary<KernelCacheKey, CudaModule> _modules = new();
    private CudaStream? _stream;

    internal CudaDevice(CudaDriverApi driver, int ordinal)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(ordinal);
        if (DriverProblem(driver) is { } problem)
            throw new CudaUnavailableException($"The CUDA driver cannot be used: {problem}.");
        CudaResult counted = driver.DeviceCount(out int count);
        if (counted != CudaResult.Success || count == 0)
            throw new CudaUnavailableException($"The CUDA driver has no device: {driver.Describe(counted).Name}.");
        if (ordinal >= count)
            throw new CudaUnavailableException($"There is no device cuda:{ordinal}; the driver has {count}, numbered from 0.");
        Ordinal = ordinal;
        Context = new CudaContext(driver, ordinal);
        try
        {
            ComputeCapability = (
                Attribute(DeviceAttribute.ComputeCapabilityMajor), Attribute(DeviceAttribute.ComputeCapabilityMinor));
            MultiprocessorCount = Attribute(DeviceAttribute.MultiprocessorCount);
            MaxSharedBytes = Attribute(DeviceAttribute.MaxSharedBytesPerBlockOptIn);
            Context.Check(driver.DeviceTotalMemory(out nuint bytes, Context.Device), "cuDeviceTotalMem");
            TotalMemory = (long)bytes;
            Model = ReadName();
        }
        catch
        {
            Context.Close();
            throw;
        }
    }

    /// <summary>Number of the device, from 0.</summary>
    public int Ordinal { get; }

    /// <inheritdoc/>
    public override string Name => string.Create(CultureInfo.InvariantCulture, $"cuda:{Ordinal}");

    /// <inheritdoc/>
    public override string Description => string.Create(
        CultureInfo.InvariantCulture,
        $"{Model}, compute capability {ComputeCapability.Major}.{ComputeCapability.Minor}, {MultiprocessorCount} multiprocessors, {TotalMemory / (double)(1L << 30):F1} GiB");

    /// <summary>The manufacturer's name of the model.</summary>
    public string Model { get; }

    /// <summary>Compute capability, such as (9, 0) for Hopper.</summary>
    public (int Major, int Minor) ComputeCapability { get; }

    /// <summary>What kernels are compiled for: <c>sm_80</c>, <c>sm_90a</c>.</summary>
    public string Architecture => CompileOptions.ArchitectureOf(ComputeCapability.Major, ComputeCapability.Minor);

    /// <summary>Streaming multiprocessors.</summary>
    public int MultiprocessorCount { get; }

    /// <summary>Memory of the device, bytes.</summary>
    public long TotalMemory { get; }

    /// <summary>Most shared memory that a block can have, bytes.</summary>
    public int MaxSharedBytes { get; }

    /// <summary>The stream that is used where a call names none.</summary>
    public CudaStream DefaultStream => Volatile.Read(ref _stream) ?? MakeDefaultStream();

    /// <summary>
    /// Choices that change the time and memory of calls, and of results no more than the order of sums. Read at the beginning of
    /// each call. Where it is set, it is for all calls, and what <c>attncompose tune</c> stored is not used.
    /// </summary>
    public CudaTuning Tuning
    {
        get => OwnTuning ?? CudaTuning.Default;
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            OwnTuning = value;
        }
    }

    /// <summary>The first error that made the device unusable for this process; null while there was none.</summary>
    public CudaException? Fault => Context.Fault;

    /// <summary>The choices for calls of a head dim, element type, mask and number of queries.</summary>
    public CudaTuning TuningFor(int headDim, ElementType element, AttentionMask mask, int queryLength) =>
        TuningFor(new TuningClass(headDim, element, mask, queryLength >= TuningClass.LongFrom));

    internal CudaTuning TuningFor(TuningClass wanted)
    {
        if (OwnTuning is null)
        {
            foreach ((TuningClass of, CudaTuning tuning) in StoredTunings)
            {
                if (of == wanted)
                    return tuning;
            }
        }
        return Tuning;
    }

    /// <summary>What <see cref="Tuning"/> was set to; null where it was not.</summary>
    internal CudaTuning? OwnTuning { get; set; }

    /// <summary>What <c>attncompose tune</c> stored for this device.</summary>
    internal (TuningClass Class, CudaTuning Tuning)[] StoredTunings { get; set; } = [];

    internal CudaContext Context { get; }

    /// <summary>Sees the workspace of every call on this device; null outside conformance checks.</summary>
    internal ICudaRunObserver? Observer { get; set; }

    /// <summary>Waits until all work on the device's context is done.</summary>
    public void Synchronize() => Context.Check(Context.Enter("cuCtxSynchronize").ContextSynchronize(), "cuCtxSynchronize");

    /// <summary>The module of a program that was loaded; null where it was not.</summary>
    internal CudaModule? FindModule(KernelCacheKey key) => _modules.GetValueOrDefault(key);

    /// <summary>The module of a compiled program, loaded once a device.</summary>
    internal CudaModule Module(KernelCacheKey key, CompiledKernel compiled)
    {
        lock (_gate)
        {
            if (!_modules.TryGetValue(key, out CudaModule? module))
                _modules[key] = module = new CudaModule(this, compiled);
            return module;
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        lock (_gate)
        {
            _stream?.Dispose();
            foreach (CudaModule module in _modules.Values)
                module.Dispose();
            _modules.Clear();
        }
        Context.Close();
    }

    /// <summary>Why a driver cannot be used; null where it can.</summary>
    internal static string? DriverProblem(CudaDriverApi driver)
    {
        CudaResult result = driver.DriverVersion(out int version);
        if (result != CudaResult.Success)
            return $"it does not tell its version: {driver.Describe(result).Name}";
        return version >= LeastDriver
            ? null
            : $"it is for CUDA {Text(version)}, and {Text(LeastDriver)} is the least that works. Install a newer NVIDIA driver";

        static string Text(int number) => string.Create(CultureInfo.InvariantCulture, $"{number / 1000}.{number % 1000 / 10}");
    }

    private CudaStream MakeDefaultStream()
    {
        lock (_gate)
        {
            if (_stream is null)
                Volatile.Write(ref _stream, new CudaStream(this));
            return _stream;
        }
    }

    private int Attribute(DeviceAttribute attribute)
    {
        Context.Check(Context.Driver.GetDeviceAttribute(out int value, attribute, Context.Device), "cuDeviceGetAttribute");
        return value;
    }

    private string ReadName()
    {
        Span<byte> name = stackalloc byte[256];
        Context.Check(Context.Driver.DeviceName(name, Context.Device), "cuDeviceGetName");
        int end = name.IndexOf((byte)0);
        return Encoding.UTF8.GetString(name[..(end < 0 ? name.Length : end)]);
    }
}
