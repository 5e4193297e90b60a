using AttnCompose.Cuda;
using Xunit;

namespace AttnCompose.Testing;

/// <summary>A theory that needs NVRTC and no GPU. Where there is none it is skipped and says what was looked for.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class NvrtcTheoryAttribute : TheoryAttribute
{
    /// <summary>Looks for NVRTC.</summary>
    public NvrtcTheoryAttribute() => Skip = Machine.WithoutNvrtc;
}

/// <summary>A theory that needs a GPU that pipelines can run on. Where there is none it is skipped and says why.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class GpuTheoryAttribute : TheoryAttribute
{
    /// <summary>Looks for a GPU, its driver and NVRTC.</summary>
    public GpuTheoryAttribute() => Skip = Machine.WithoutGpu;
}

/// <summary>What this machine lacks, in words; null where it lacks nothing.</summary>
internal static class Machine
{
    private static readonly CudaReport s_report = CudaDoctor.Examine();

    public static string? WithoutNvrtc { get; } = s_report.CanCompile
        ? null
        : $"NVRTC was not found; tried {s_report.Nvrtc.Tried.Count} places. ATTNCOMPOSE_NVRTC names the library or its folder.";

    public static string? WithoutGpu { get; } = s_report.CanRun
        ? null
        : $"There is no usable GPU: driver {s_report.Driver.Problem ?? "found"}, {s_report.Gpus.Count} devices, "
            + $"NVRTC {s_report.Nvrtc.Problem ?? "found"}.";
}
