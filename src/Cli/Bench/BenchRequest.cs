using System.Globalization;

namespace AttnCompose.Cli.Bench;

/// <summary>When calls are captured into CUDA graphs.</summary>
internal enum GraphUse
{
    /// <summary>Where a call is so short that launching it would be seen in its time.</summary>
    Auto,

    /// <summary>Always.</summary>
    Always,

    /// <summary>Never.</summary>
    Never,
}

/// <summary>How selected keys and values reach the attention loop.</summary>
internal enum GatherUse
{
    /// <summary>They are gathered ahead, and the loop reads them through the copy engine.</summary>
    Ahead,

    /// <summary>The loop copies them row by row.</summary>
    Loop,
}

/// <summary>What <c>bench</c> is to measure.</summary>
internal sealed record BenchRequest
{
    /// <summary>Lengths up to which <see cref="GraphUse.Auto"/> uses graphs.</summary>
    public const int LongestGraph = 8192;

    /// <summary>Fewest samples that a row may have.</summary>
    public const int FewestSamples = 7;

    /// <summary>The pipelines.</summary>
    public required IReadOnlyList<PipelineDescriptor> Pipelines { get; init; }

    /// <summary>Queries and keys of each problem.</summary>
    public required IReadOnlyList<int> Lengths { get; init; }

    /// <summary>Shares of the tokens to keep; empty for what the pipelines' own parameters keep.</summary>
    public required IReadOnlyList<double> Keeps { get; init; }

    /// <summary>Query heads.</summary>
    public int Heads { get; init; } = 32;

    /// <summary>Key/value heads.</summary>
    public int KeyValueHeads { get; init; } = 8;

    /// <summary>Head dim.</summary>
    public int HeadDim { get; init; } = 128;

    /// <summary>Element type.</summary>
    public ElementType Element { get; init; } = ElementType.BFloat16;

    /// <summary>Samples of a row.</summary>
    public int Samples { get; init; } = 9;

    /// <summary>When to use graphs.</summary>
    public GraphUse Graph { get; init; }

    /// <summary>Standard deviation of the keys.</summary>
    public double KeyDeviation { get; init; } = 1;

    /// <summary>
    /// Idle time before each sample, ms. Without it a chip under load runs at the clocks that its power limit leaves; rested, it
    /// runs at those of published figures.
    /// </summary>
    public int RestMilliseconds { get; init; }

    /// <summary>Options for the pipelines that have them.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Settings { get; init; } = [];

    /// <summary>How selected keys and values reach the attention loop; null for the tuning of the device.</summary>
    public GatherUse? Gather { get; init; }

    /// <summary>Whether to time each kernel apart.</summary>
    public bool Stages { get; init; }

    /// <summary>Whether to time what a call costs the host.</summary>
    public bool Host { get; init; }

    /// <summary>Whether to time compiling and loading.</summary>
    public bool Compile { get; init; }

    /// <summary>Starts the peers; null for none.</summary>
    public string? PeersCommand { get; init; }

    /// <summary>A report to compare with; null for none.</summary>
    public string? PeersFile { get; init; }

    /// <summary>The problem of a length and a share.</summary>
    public BenchCase Case(string workload, int length, double? keep, AttentionMask mask, bool onGpu) => new()
    {
        Workload = workload,
        Length = length,
        Keep = keep,
        Heads = Heads,
        KeyValueHeads = KeyValueHeads,
        HeadDim = HeadDim,
        Element = Element,
        Mask = mask,
        Graph = onGpu && (Graph == GraphUse.Always || (Graph == GraphUse.Auto && length <= LongestGraph)),
    };

    /// <summary>Lengths such as <c>1000,8K,1M</c>.</summary>
    /// <exception cref="UsageException">One is no length.</exception>
    public static IReadOnlyList<int> ParseLengths(string text) =>
    [
        .. text.Split(',', StringSplitOptions.TrimEntries).Select(part =>
        {
            int shift = part is [.., 'K' or 'k'] ? 10 : part is [.., 'M' or 'm'] ? 20 : 0;
            bool isNumber = long.TryParse(
                shift > 0 ? part[..^1] : part, NumberStyles.None, CultureInfo.InvariantCulture, out long number);
            return isNumber && number > 0 && number <= int.MaxValue >> shift
                ? (int)(number << shift)
                : throw new UsageException($"--lengths takes lengths such as 1000,8K,1M; got '{text}'.");
        }),
    ];

    /// <summary>Shares such as <c>0.25,0.5</c>.</summary>
    /// <exception cref="UsageException">One is not in (0, 1].</exception>
    public static IReadOnlyList<double> ParseKeeps(string text) =>
    [
        .. text.Split(',', StringSplitOptions.TrimEntries).Select(part =>
            double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out double share) && share is > 0 and <= 1
                ? share
                : throw new UsageException($"--keep takes shares of the tokens in (0, 1], such as 0.25,0.5; got '{text}'.")),
    ];

    /// <summary>An element type: bf16, fp16 or fp32.</summary>
    /// <exception cref="UsageException">It is another.</exception>
    public static ElementType ParseElement(string text) => text switch
    {
        "bf16" => ElementType.BFloat16,
        "fp16" => ElementType.Float16,
        "fp32" => ElementType.Float32,
        _ => throw new UsageException($"--dtype takes bf16, fp16 or fp32; got '{text}'."),
    };

    /// <summary>A mask: causal or full.</summary>
    /// <exception cref="UsageException">It is another.</exception>
    public static AttentionMask ParseMask(string text) => text switch
    {
        "causal" => AttentionMask.Causal,
        "full" => AttentionMask.Full,
        _ => throw new UsageException($"--mask takes causal or full; got '{text}'."),
    };

    /// <summary>How keys are gathered: ahead or loop; null for auto.</summary>
    /// <exception cref="UsageException">It is another word.</exception>
    public static GatherUse? ParseGather(string text) => text switch
    {
        "auto" => null,
        "ahead" => GatherUse.Ahead,
        "loop" => GatherUse.Loop,
        _ => throw new UsageException($"--gather takes auto, ahead or loop; got '{text}'."),
    };

    /// <summary>When to use graphs: auto, always or never.</summary>
    /// <exception cref="UsageException">It is another word.</exception>
    public static GraphUse ParseGraph(string text) => text switch
    {
        "auto" => GraphUse.Auto,
        "always" => GraphUse.Always,
        "never" => GraphUse.Never,
        _ => throw new UsageException($"--graph takes auto, always or never; got '{text}'."),
    };

    /// <summary>Throws where the sizes fit no attention.</summary>
    /// <exception cref="UsageException">They do not.</exception>
    public void Check()
    {
        if (Heads < 1 || KeyValueHeads < 1 || Heads % KeyValueHeads != 0)
            throw new UsageException($"--heads must be a multiple of --kv-heads; got {Heads} and {KeyValueHeads}.");
        if (HeadDim < 8 || HeadDim > 256 || HeadDim % 8 != 0)
            throw new UsageException($"--head-dim must be a multiple of 8 up to 256; got {HeadDim}.");
        if (Samples < FewestSamples)
            throw new UsageException($"--samples must be at least {FewestSamples}; got {Samples}.");
        if (!double.IsFinite(KeyDeviation) || KeyDeviation < 0)
            throw new UsageException($"--key-deviation must be at least 0; got {KeyDeviation}.");
        if (RestMilliseconds is < 0 or > 10_000)
            throw new UsageException($"--rest must be in [0, 10000] ms; got {RestMilliseconds}.");
        PipelineDescriptor? fixedOne =
            Pipelines.FirstOrDefault(pipeline => IsSparse(pipeline) && !KeepSettings.CanKeep(pipeline));
        if (Keeps.Count > 0 && fixedOne is not null)
            throw new UsageException($"{fixedOne.Name} has no parameter that says how much it keeps; leave --keep out.");
        if (Keeps.Count > 0 && !Pipelines.Any(IsSparse))
            throw new UsageException("--keep needs a pipeline with a token selector.");
    }

    /// <summary>Whether a pipeline drops tokens.</summary>
    public static bool IsSparse(PipelineDescriptor pipeline) =>
        pipeline.Plan.Stages.Any(stage => stage.Kind == StageKind.TokenSelector);
}
