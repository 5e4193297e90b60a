namespace AttnCompose.Cli.Bench;

/// <summary>What was measured of one implementation on one problem.</summary>
internal sealed record BenchRow
{
    /// <summary>Pipeline or peer.</summary>
    public required string Implementation { get; init; }

    /// <summary>Whether it is one of ours.</summary>
    public bool IsOwn { get; init; }

    /// <summary>The problem; a peer's may have other heads than ours.</summary>
    public required BenchCase Case { get; init; }

    /// <summary>Which part, of a workload that has parts: a kernel, a way to call.</summary>
    public string Part { get; init; } = "";

    /// <summary>Milliseconds of one call, one number a sample.</summary>
    public IReadOnlyList<double> Samples { get; init; } = [];

    /// <summary>Device memory in use meanwhile, tensors included, bytes; 0 where it was not measured.</summary>
    public long MemoryBytes { get; init; }

    /// <summary>Median clock of the multiprocessors while the case was measured, MHz; 0 where it is not known.</summary>
    public double ClockMegahertz { get; init; }

    /// <summary>Median power of the GPU while the case was measured, W; 0 where it is not known.</summary>
    public double PowerWatts { get; init; }

    /// <summary>What a reader has to know of the row.</summary>
    public string Note { get; init; } = "";

    /// <summary>Why there is no time; empty where there is one.</summary>
    public string Error { get; init; } = "";

    /// <summary>A peer's name without the way it is run, which stands behind a comma.</summary>
    public string Peer => Implementation.Split(',')[0];

    /// <summary>Median and spread of the samples.</summary>
    public SampleStatistics Statistics => SampleStatistics.Of(Samples);

    /// <summary>Whether the row has a time.</summary>
    public bool IsMeasured => Error.Length == 0 && Samples.Count > 0;

    /// <summary>Whether rates mean anything: the time is that of attention.</summary>
    public bool HasOperations => Case.Workload is Workloads.Dense or Workloads.TokenSparse or Workloads.Contiguous;

    /// <summary>Useful operations a second at the median, TFLOP/s.</summary>
    public double Teraflops => HasOperations && IsMeasured ? Case.Operations / Statistics.Median / 1e9 : 0;

    /// <summary>Compulsory bytes a second at the median, TB/s.</summary>
    public double TerabytesPerSecond => HasOperations && IsMeasured ? Case.Bytes / Statistics.Median / 1e9 : 0;
}

/// <summary>What the machine can do at most, measured in the same run; NaN where it was not measured.</summary>
/// <param name="MatmulTeraflops">Dense matrix product through cuBLAS in the element type of the run at its best, TFLOP/s.</param>
/// <param name="SustainedTeraflops">The same under lasting load, where a power limit lowers the clocks: the median.</param>
/// <param name="CopyTerabytes">Copy on the device, read and written bytes counted, TB/s.</param>
/// <param name="Note">Which library, or why something was not measured.</param>
internal sealed record Ceilings(double MatmulTeraflops, double SustainedTeraflops, double CopyTerabytes, string Note)
{
    public static Ceilings None { get; } = new(double.NaN, double.NaN, double.NaN, "");
}

/// <summary>All rows of a run and what they were measured on.</summary>
internal sealed record BenchReport
{
    /// <summary>When the run began.</summary>
    public required DateTime Created { get; init; }

    /// <summary>The command line.</summary>
    public string Command { get; init; } = "";

    /// <summary>Facts of the machine by name, such as device, driver, clocks.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Machine { get; init; } = [];

    /// <summary>What the machine can do at most.</summary>
    public Ceilings Ceilings { get; init; } = Ceilings.None;

    /// <summary>The rows in the order of measurement.</summary>
    public IReadOnlyList<BenchRow> Rows { get; init; } = [];
}
