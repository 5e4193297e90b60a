using System.Globalization;

namespace AttnCompose.Cuda;

/// <summary>Every environment variable that the CUDA runtime reads. They are read once, at first use.</summary>
/// <remarks>
/// <list type="table">
/// <item><term><c>ATTNCOMPOSE_NVRTC</c></term><description>The NVRTC library, or the folder it is in. No other place is
/// searched then.</description></item>
/// <item><term><c>ATTNCOMPOSE_CACHE</c></term><description><c>off</c>, or the folder for compiled kernels.</description></item>
/// <item><term><c>ATTNCOMPOSE_REQUIRE_CACHE</c></term><description><c>1</c>: a kernel that is not in the cache is an error; for
/// services that must not compile.</description></item>
/// <item><term><c>ATTNCOMPOSE_SYNC</c></term><description><c>1</c>: wait after every kernel, so that an error names the kernel
/// that caused it. Slow.</description></item>
/// <item><term><c>ATTNCOMPOSE_DELAYS</c></term><description><c>1</c>: kernels are compiled with random delays at their
/// barriers, which brings races to light. Slow.</description></item>
/// <item><term><c>ATTNCOMPOSE_WORKERS</c></term><description>Most worker processes that kernels are compiled in, each with some
/// hundred megabytes; <c>0</c>: none. As many as there are processors, up to 8 and to half of the memory,
/// otherwise.</description></item>
/// <item><term><c>XDG_CACHE_HOME</c></term><description>Where the cache folder <c>attncompose</c> is made on Linux and macOS;
/// <c>~/.cache</c> otherwise.</description></item>
/// <item><term><c>CUDA_PATH</c>, <c>CUDA_HOME</c>, <c>VIRTUAL_ENV</c>, <c>CONDA_PREFIX</c></term><description>Places where
/// NVRTC is searched.</description></item>
/// </list>
/// </remarks>
public sealed record CudaSettings
{
    private static readonly Lazy<CudaSettings> s_current = new(() => Read(Environment.GetEnvironmentVariable));

    /// <summary>The settings of this process.</summary>
    public static CudaSettings Current => s_current.Value;

    /// <summary>The NVRTC library or its folder; null to search.</summary>
    public string? Nvrtc { get; init; }

    /// <summary>Whether compiled kernels are kept on disk.</summary>
    public bool UseCache { get; init; } = true;

    /// <summary>The folder for compiled kernels; null for the default one.</summary>
    public string? CacheDirectory { get; init; }

    /// <summary>Whether a kernel that is not in the cache is an error.</summary>
    public bool RequireCache { get; init; }

    /// <summary>Whether to wait after every kernel.</summary>
    public bool SynchronizeLaunches { get; init; }

    /// <summary>Whether kernels have random delays at their barriers.</summary>
    public bool DelayBarriers { get; init; }

    /// <summary>Most worker processes that kernels are compiled in; null for the number that fits the machine.</summary>
    public int? CompileWorkers { get; init; }

    /// <summary>Toolkit folders named by the environment.</summary>
    public IReadOnlyList<string> ToolkitRoots { get; init; } = [];

    /// <summary>Python environments named by the environment.</summary>
    public IReadOnlyList<string> PythonRoots { get; init; } = [];

    /// <summary>The folder that the cache folder is made in when none is named; null where there is none.</summary>
    public string? CacheHome { get; init; }

    internal static CudaSettings Read(Func<string, string?> variable)
    {
        string? Value(string name) => variable(name) is { Length: > 0 } value ? value : null;
        bool Flag(string name) => Value(name) is { } value && value is not ("0" or "false" or "off");
        string[] Values(params string[] names) => [.. names.Select(Value).OfType<string>().Distinct(StringComparer.Ordinal)];

        string? cache = Value("ATTNCOMPOSE_CACHE");
        bool off = string.Equals(cache, "off", StringComparison.OrdinalIgnoreCase) || cache == "0";
        return new CudaSettings
        {
            Nvrtc = Value("ATTNCOMPOSE_NVRTC"),
            UseCache = !off,
            CacheDirectory = off ? null : cache,
            RequireCache = Flag("ATTNCOMPOSE_REQUIRE_CACHE"),
            SynchronizeLaunches = Flag("ATTNCOMPOSE_SYNC"),
            DelayBarriers = Flag("ATTNCOMPOSE_DELAYS"),
            CompileWorkers =
                int.TryParse(Value("ATTNCOMPOSE_WORKERS"), NumberStyles.None, CultureInfo.InvariantCulture, out int workers)
                    ? workers
                    : null,
            ToolkitRoots = Values("CUDA_PATH", "CUDA_HOME"),
            PythonRoots = Values("VIRTUAL_ENV", "CONDA_PREFIX"),
            CacheHome = OperatingSystem.IsWindows()
                ? Value("LOCALAPPDATA")
                : Rooted(Value("XDG_CACHE_HOME")) ?? (Rooted(Value("HOME")) is { } home ? Path.Combine(home, ".cache") : null),
        };

        // The XDG specification says to ignore a relative path.
        static string? Rooted(string? path) => path is not null && Path.IsPathFullyQualified(path) ? path : null;
    }
}
