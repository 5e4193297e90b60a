using System.Text;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>What of CUDA was found on this machine.</summary>
/// <param name="Driver">The driver.</param>
/// <param name="Gpus">The devices, in the order of their numbers.</param>
/// <param name="Nvrtc">The run-time compiler.</param>
/// <param name="Cache">The folder of compiled kernels.</param>
public sealed record CudaReport(DriverReport Driver, IReadOnlyList<GpuReport> Gpus, NvrtcReport Nvrtc, CacheReport Cache)
{
    /// <summary>Whether pipelines can run on a GPU.</summary>
    public bool CanRun => Gpus.Any(gpu => gpu.IsSupported) && Nvrtc.Path is not null;

    /// <summary>Whether kernels can be compiled, if not run.</summary>
    public bool CanCompile => Nvrtc.Path is not null;
}

/// <summary>The CUDA driver.</summary>
/// <param name="Path">The library; null where there is none.</param>
/// <param name="Version">The CUDA version that it supports.</param>
/// <param name="Problem">Why it cannot be used; null where it can.</param>
/// <param name="Tried">What was tried to find it.</param>
public sealed record DriverReport(string? Path, Version? Version, string? Problem, IReadOnlyList<LibraryAttempt> Tried);

/// <summary>One device.</summary>
/// <param name="Ordinal">Its number.</param>
/// <param name="Model">The manufacturer's name.</param>
/// <param name="ComputeCapability">Its compute capability.</param>
/// <param name="Multiprocessors">Streaming multiprocessors.</param>
/// <param name="MemoryBytes">Its memory.</param>
/// <param name="Architecture">What kernels are compiled for.</param>
/// <param name="Problem">Why pipelines cannot run on it; null where they can.</param>
public sealed record GpuReport(
    int Ordinal, string Model, Version ComputeCapability, int Multiprocessors, long MemoryBytes, string Architecture,
    string? Problem)
{
    /// <summary>Whether pipelines can run on it.</summary>
    public bool IsSupported => Problem is null;

    /// <summary>Which attention main loop runs at which head dim; null where NVRTC cannot tell.</summary>
    public AttentionLoops? Loops { get; init; }

    /// <summary>What <c>attncompose tune</c> stored for it.</summary>
    internal IReadOnlyList<(TuningClass Class, CudaTuning Tuning)> Tunings { get; init; } = [];
}

/// <summary>The run-time compiler.</summary>
/// <param name="Path">The library; null where there is none.</param>
/// <param name="Version">Its version.</param>
/// <param name="Architectures">What it compiles for, such as 90.</param>
/// <param name="Problem">Why it cannot be used; null where it can.</param>
/// <param name="Tried">What was tried to find it.</param>
public sealed record NvrtcReport(
    string? Path, Version? Version, IReadOnlyList<int> Architectures, string? Problem, IReadOnlyList<LibraryAttempt> Tried);

/// <summary>The folder of compiled kernels.</summary>
/// <param name="Directory">The folder; null where none is wanted.</param>
/// <param name="Problem">Why it is not used; null where it is.</param>
/// <param name="Entries">Kernels in it.</param>
/// <param name="Bytes">Their size.</param>
public sealed record CacheReport(string? Directory, string? Problem, int Entries, long Bytes);

/// <summary>Looks at what of CUDA is on this machine. Nothing that is missing or broken makes it throw.</summary>
public static class CudaDoctor
{
    private const int LeastMajor = 8;

    /// <summary>Looks.</summary>
    public static CudaReport Examine() => Examine(KernelCache.Default);

    internal static CudaReport Examine(KernelCache cache)
    {
        NvrtcReport nvrtc = ExamineNvrtc();
        (DriverReport driver, CudaDriverApi? api) = ExamineDriver();
        IReadOnlyList<GpuReport> gpus = api is null ? [] : ExamineGpus(api, nvrtc);
        gpus = [.. gpus.Select(gpu => gpu with { Loops = ExamineLoops(gpu, nvrtc), Tunings = ExamineTunings(gpu, api!, cache) })];
        return new(driver, gpus, nvrtc, ExamineCache(cache));
    }

    private static AttentionLoops? ExamineLoops(GpuReport gpu, NvrtcReport nvrtc)
    {
        if (!gpu.IsSupported || nvrtc.Path is null)
            return null;
        try
        {
            return AttentionLoops.Of(gpu.Architecture);
        }
        catch (Exception e) when (e is NvrtcException or KernelCompilationException)
        {
            return null;
        }
    }

    private static IReadOnlyList<(TuningClass Class, CudaTuning Tuning)> ExamineTunings(
        GpuReport gpu, CudaDriverApi api, KernelCache cache) =>
        api.DriverVersion(out int driver) == CudaResult.Success
            ? TuningFile.Read(TuningFile.DeviceKey(gpu.Model, gpu.Multiprocessors, gpu.MemoryBytes, driver), cache)
            : [];

    internal static IReadOnlyList<GpuReport> ExamineGpus(CudaDriverApi driver, NvrtcReport nvrtc)
    {
        var gpus = new List<GpuReport>();
        if (driver.DeviceCount(out int count) != CudaResult.Success)
            return gpus;
        Span<byte> name = stackalloc byte[256];
        for (int ordinal = 0; ordinal < count; ordinal++)
        {
            if (driver.DeviceGet(out int device, ordinal) != CudaResult.Success)
                continue;
            name.Clear();
            driver.DeviceName(name, device);
            driver.DeviceTotalMemory(out nuint bytes, device);
            driver.GetDeviceAttribute(out int major, DeviceAttribute.ComputeCapabilityMajor, device);
            driver.GetDeviceAttribute(out int minor, DeviceAttribute.ComputeCapabilityMinor, device);
            driver.GetDeviceAttribute(out int multiprocessors, DeviceAttribute.MultiprocessorCount, device);
            int end = name.IndexOf((byte)0);
            string? problem = major < LeastMajor ? $"compute capability {major}.{minor} is below {LeastMajor}.0"
                : nvrtc.Path is not null && !nvrtc.Architectures.Contains(10 * major + minor)
                    ? $"NVRTC {nvrtc.Version} does not compile for it"
                : null;
            string model = Encoding.UTF8.GetString(name[..(end < 0 ? name.Length : end)]);
            gpus.Add(new(
                ordinal, model, new Version(major, minor), multiprocessors, (long)bytes, CompileOptions.ArchitectureOf(major, minor), problem));
        }
        return gpus;
    }

    private static (DriverReport Report, CudaDriverApi? Driver) ExamineDriver()
    {
        NativeLibraryProbe probe = NativeLibraries.DriverProbe;
        if (probe.Handle == 0)
            return (new(null, null, "not found", probe.Tried), null);
        try
        {
            NativeCudaDriver driver = NativeCudaDriver.Instance;
            Version? version = driver.DriverVersion(out int number) == CudaResult.Success
                ? new Version(number / 1000, number % 1000 / 10)
                : null;
            string? problem = CudaDevice.DriverProblem(driver);
            return (new(probe.Path, version, problem, probe.Tried), problem is null ? driver : null);
        }
        catch (Exception e) when (e is CudaUnavailableException or EntryPointNotFoundException)
        {
            return (new(probe.Path, null, e.Message, probe.Tried), null);
        }
    }

    private static NvrtcReport ExamineNvrtc()
    {
        NativeLibraryProbe probe = NativeLibraries.NvrtcProbe;
        if (probe.Handle == 0)
            return new(null, null, [], "not found", probe.Tried);
        try
        {
            return new(probe.Path, KernelCompiler.Version, KernelCompiler.SupportedArchitectures, null, probe.Tried);
        }
        catch (Exception e) when (e is NvrtcException or EntryPointNotFoundException)
        {
            return new(null, null, [], e.Message, probe.Tried);
        }
    }

    private static CacheReport ExamineCache(KernelCache cache)
    {
        if (cache.Refusal is not null || cache.Directory is null)
            return new(cache.Directory, cache.Refusal, 0, 0);
        try
        {
            FileInfo[] files = new DirectoryInfo(cache.Directory).GetFiles("*" + KernelCache.Extension);
            return new(cache.Directory, cache.WriteFailure, files.Length, files.Sum(file => file.Length));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new(cache.Directory, e.Message, 0, 0);
        }
    }
}
