namespace AttnCompose.Cli.Bench;

/// <summary>What a row of times is about. Rows of ours and of peers belong together where these agree.</summary>
internal static class Workloads
{
    /// <summary>Attention over every token.</summary>
    public const string Dense = "dense";

    /// <summary>Attention over the tokens that a selector keeps, selection, gather and scatter included.</summary>
    public const string TokenSparse = "token-sparse";

    /// <summary>
    /// Dense attention over the tokens that a selector keeps, laid out contiguously beforehand, with keys for every query head.
    /// </summary>
    public const string Contiguous = "contiguous";

    /// <summary>One kernel of a pipeline, its time alone.</summary>
    public const string Kernel = "kernel";

    /// <summary>The choice of the highest scores of each head, given the scores and how many.</summary>
    public const string Select = "select";

    /// <summary>What a call costs the host.</summary>
    public const string HostTime = "host-time";

    /// <summary>Compiling a pipeline's kernels, and loading them when they are compiled.</summary>
    public const string KernelLoading = "kernel-loading";
}

/// <summary>One problem: a workload and its sizes. One sequence, as many queries as keys.</summary>
internal sealed record BenchCase
{
    /// <summary>One of <see cref="Workloads"/>.</summary>
    public required string Workload { get; init; }

    /// <summary>Queries and keys.</summary>
    public required int Length { get; init; }

    /// <summary>Share of the tokens that was asked for; null where none is dropped on purpose.</summary>
    public double? Keep { get; init; }

    /// <summary>Tokens that each head keeps, its mean over heads; null where all are kept.</summary>
    public int? Kept { get; init; }

    /// <summary>Share of the attention mass that the selector drops, where it is told so.</summary>
    public double? Coverage { get; init; }

    /// <summary>Query heads.</summary>
    public int Heads { get; init; } = 32;

    /// <summary>Key/value heads.</summary>
    public int KeyValueHeads { get; init; } = 8;

    /// <summary>Head dim.</summary>
    public int HeadDim { get; init; } = 128;

    /// <summary>Element of the inputs and the output.</summary>
    public ElementType Element { get; init; } = ElementType.BFloat16;

    /// <summary>The mask.</summary>
    public AttentionMask Mask { get; init; } = AttentionMask.Causal;

    /// <summary>Whether calls are captured into a CUDA graph, so that the host has no part in the time.</summary>
    public bool Graph { get; init; }

    /// <summary>Useful floating-point operations: 4 * head dim for each pair of kept tokens that is not masked.</summary>
    public double Operations
    {
        get
        {
            double tokens = Kept ?? Length;
            double pairs = Mask == AttentionMask.Causal ? tokens * (tokens + 1) / 2 : tokens * tokens;
            return 4 * HeadDim * pairs * Heads;
        }
    }

    /// <summary>
    /// Bytes that any way of doing it moves: the queries that are kept, keys and values once (a selector reads every key), and
    /// the whole output.
    /// </summary>
    public double Bytes
    {
        get
        {
            double row = HeadDim * ElementBytes(Element);
            double tokens = Kept ?? Length;
            return row * (tokens * Heads + 2.0 * Length * KeyValueHeads + (double)Length * Heads);
        }
    }

    /// <summary>Bytes of an element.</summary>
    public static int ElementBytes(ElementType element) => element == ElementType.Float32 ? 4 : 2;

    /// <summary>The name of an element type on the command line and in files.</summary>
    public static string ElementName(ElementType element) => element switch
    {
        ElementType.Float32 => "fp32",
        ElementType.Float16 => "fp16",
        _ => "bf16",
    };

    /// <summary>The name of a mask on the command line and in files.</summary>
    public static string MaskName(AttentionMask mask) => mask == AttentionMask.Causal ? "causal" : "full";

    /// <summary>A length in short: 1000, 8K, 1M.</summary>
    public static string LengthName(long length) =>
        length >= 1 << 20 && length % (1 << 20) == 0 ? $"{length >> 20}M"
        : length >= 1 << 10 && length % (1 << 10) == 0 ? $"{length >> 10}K"
        : $"{length}";

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Workload} {LengthName(Length)}{(Keep is { } keep ? FormattableString.Invariant($" keep {keep:0.###}") : "")}"
        + $" {MaskName(Mask)} {Heads}/{KeyValueHeads} x {HeadDim} {ElementName(Element)}{(Graph ? " graph" : "")}";
}
