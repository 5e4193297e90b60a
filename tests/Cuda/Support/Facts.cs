namespace AttnCompose.Cuda.Tests;

/// <summary>A test that needs NVRTC.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class NvrtcFactAttribute : FactAttribute
{
    public NvrtcFactAttribute() => Skip = Machine.WithoutNvrtc;
}

/// <summary>A theory that needs NVRTC.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class NvrtcTheoryAttribute : TheoryAttribute
{
    public NvrtcTheoryAttribute() => Skip = Machine.WithoutNvrtc;
}

/// <summary>A test that needs a GPU that pipelines can run on.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class GpuFactAttribute : FactAttribute
{
    public GpuFactAttribute() => Skip = Machine.WithoutGpu;
}

/// <summary>A test of what Linux and macOS know: modes, owners and links of files.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class UnixFactAttribute : FactAttribute
{
    public UnixFactAttribute() => Skip = OperatingSystem.IsWindows() ? "Needs Unix file modes and links." : null;
}

/// <summary>What this machine lacks, in words; null where it lacks nothing.</summary>
internal static class Machine
{
    private static readonly CudaReport s_report = CudaDoctor.Examine();

    public static string? WithoutNvrtc { get; } = s_report.CanCompile
        ? null
        : $"NVRTC was not found (eng/get-nvrtc.sh fetches it on Debian); tried {s_report.Nvrtc.Tried.Count} places.";

    public static string? WithoutGpu { get; } = s_report.CanRun
        ? null
        : $"There is no usable GPU: driver {s_report.Driver.Problem ?? "found"}, {s_report.Gpus.Count} devices, NVRTC {s_report.Nvrtc.Problem ?? "found"}.";
}
