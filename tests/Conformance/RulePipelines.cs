using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>Rules of many kinds in one kernel text, dense; options choose among them.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
internal sealed partial class RuledAttention : IDocumentPipeline
{
    [ScoreModifier]
    internal static float Bend(float score, in ScorePosition at, float slope = 0, float cap = 0)
    {
        if (cap > 0)
            return cap * MathF.Tanh(score / cap);
        return score - slope * Math.Abs(at.Query - at.Key);
    }

    [MaskModifier]
    internal static bool See(in ScorePosition at, ReadOnlySpan<int> document, int window = int.MaxValue, bool fifths = false) =>
        document[at.Query] == document[at.Key] && at.Query - at.Key < window && !(fifths && at.Key % 5 == 4);

    [SinkLogit]
    internal static float Nowhere(in ScorePosition at, bool sinks = false) =>
        sinks ? RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead : float.NegativeInfinity;
}

/// <summary>The mask rules alone: ranges say which key tiles they leave empty, and in which of the others they are not asked.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
internal sealed partial class MaskedAttention : IDocumentPipeline
{
    [MaskModifier]
    internal static bool See(in ScorePosition at, ReadOnlySpan<int> document, int window = int.MaxValue, bool fifths = false) =>
        document[at.Query] == document[at.Key] && at.Query - at.Key < window && !(fifths && at.Key % 5 == 4);
}

/// <summary>The rule of distances in a form that costs more to compute than to look up: a loop may have it once a diagonal.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
internal sealed partial class DistancedAttention : IDocumentPipeline
{
    [ScoreModifier]
    internal static float Bend(float score, in ScorePosition at, float slope = 0)
    {
        float distance = at.Query - at.Key;
        return score - slope * MathF.Sqrt(distance * distance);
    }

    [MaskModifier]
    internal static bool See(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

/// <summary>The same rules beside a token selection.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
internal sealed partial class RuledTokenSparse : IDocumentPipeline
{
    [ScoreModifier]
    internal static float Bend(float score, in ScorePosition at, float slope = 0, float cap = 0)
    {
        if (cap > 0)
            return RuleMath.SoftCap(score, cap);
        return score - slope * Math.Abs(at.Query - at.Key);
    }

    [MaskModifier]
    internal static bool See(in ScorePosition at, ReadOnlySpan<int> document, int window = int.MaxValue, bool fifths = false) =>
        document[at.Query] == document[at.Key] && at.Query - at.Key < window && !(fifths && at.Key % 5 == 4);

    [SinkLogit]
    internal static float Nowhere(in ScorePosition at, bool sinks = false) =>
        sinks ? RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead : float.NegativeInfinity;
}

/// <summary>Configurations with rules, which every kind of device runs by what the generator made of C#.</summary>
public static class RulePipelines
{
    /// <summary>Penalty a key of distance.</summary>
    public const float Slope = 0.0625f;

    /// <summary>Largest magnitude of a capped score.</summary>
    public const float Cap = 3;

    /// <summary>Keys that a query sees.</summary>
    public const int Window = 70;

    private const int MoreKeys = 300;

    /// <summary>Sink logit of query head 0, and how much more that of each next head is.</summary>
    public const float FirstSink = -1, SinkStep = 0.75f;

    /// <summary>Tokens of a document.</summary>
    public const int DocumentLength = 90;

    /// <summary>(head dim, element, float output) that the rules are compiled for.</summary>
    public static IReadOnlyList<(int HeadDim, ElementType Element, bool FloatOutput)> Kernels { get; } =
        [(128, ElementType.BFloat16, false), (64, ElementType.Float16, true)];

    /// <summary>The same configuration, now and then with a rule.</summary>
    public static PipelineConfig Draw(PipelineConfig config, Random random)
    {
        ArgumentNullException.ThrowIfNull(random);
        bool isCompiled = config is { Count: 0, Blocks: false, BlockSelector: BlockSelectorKind.None } && Kernels.Contains((config.HeadDim, config.Element, config.FloatOutput));
        // One-hot scores stand for positions, which a rule moves.
        if (!isCompiled || config.Content == TensorContent.OneHot || random.Next(2) == 0)
            return config;
        PipelineConfig ruled = config with { Rule = (RuleKind)random.Next(1, Enum.GetValues<RuleKind>().Length) };
        // Long enough that windows and documents leave tiles of 128 keys empty, where that is not too much work.
        PipelineConfig longer = ruled with { KeyLength = ruled.KeyLength + MoreKeys };
        if (ruled.QueryLength == ruled.KeyLength)
            longer = longer with { QueryLength = longer.KeyLength };
        return longer.MultiplyAdds <= PipelineConfig.MaxMultiplyAdds ? longer : ruled;
    }

    /// <summary>Whether a configuration is of the pipeline that has mask rules alone: every second one that may be.</summary>
    public static bool IsMaskAlone(PipelineConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config is { Sparse: false, Rule: RuleKind.MaskFifths or RuleKind.Window or RuleKind.Documents } && config.Seed % 2 == 0;
    }

    /// <summary>Whether a configuration is of the pipeline whose rule is a term of the distance: every second one that may be.</summary>
    public static bool IsDistanceTerm(PipelineConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config is { Sparse: false, Rule: RuleKind.Distance } && config.Seed % 2 == 0;
    }

    /// <summary>The pipeline of a configuration that has a rule.</summary>
    public static IAttentionPipeline Create(PipelineConfig config, AttentionDevice device)
    {
        float slope = config.Rule == RuleKind.Distance ? Slope : 0, cap = config.Rule == RuleKind.SoftCap ? Cap : 0;
        int window = config.Rule == RuleKind.Window ? Window : int.MaxValue;
        bool fifths = config.Rule == RuleKind.MaskFifths, sinks = config.Rule == RuleKind.Sink;
        if (IsMaskAlone(config))
            return Bind(MaskedAttention.Create(device, new() { Window = window, Fifths = fifths }), config);
        if (IsDistanceTerm(config))
            return Bind(DistancedAttention.Create(device, new() { Slope = slope }), config);
        if (!config.Sparse)
        {
            return Bind(
                RuledAttention.Create(device, new() { Slope = slope, Cap = cap, Window = window, Fifths = fifths, Sinks = sinks }), config);
        }
        return Bind(
            RuledTokenSparse.Create(device, new()
            {
                Coverage = config.Coverage, MinTokens = config.MinTokens, Slope = slope, Cap = cap, SeeWindow = window, Fifths = fifths,
                Sinks = sinks,
            }),
            config);
    }

    /// <summary>The plan of that pipeline.</summary>
    public static PipelinePlan PlanOf(PipelineConfig config) =>
        config.Sparse ? RuledTokenSparse.Plan
        : IsMaskAlone(config) ? MaskedAttention.Plan
        : IsDistanceTerm(config) ? DistancedAttention.Plan
        : RuledAttention.Plan;

    /// <summary>The rule by its definition, in double; null for none.</summary>
    public static ScoreRule? RuleOf(RuleKind kind) => kind switch
    {
        RuleKind.Distance => static (score, query, key) => score - Slope * Math.Abs(query - key),
        RuleKind.MaskFifths => static (score, query, key) => key % 5 == 4 ? double.NegativeInfinity : score,
        RuleKind.SoftCap => static (score, query, key) => Cap * Math.Tanh(score / Cap),
        RuleKind.Window => static (score, query, key) => query - key >= Window ? double.NegativeInfinity : score,
        RuleKind.Documents => static (score, query, key) =>
            query / DocumentLength != key / DocumentLength ? double.NegativeInfinity : score,
        _ => null,
    };

    /// <summary>The sink logit of a query head; -inf for none.</summary>
    public static double SinkOf(RuleKind kind, int head) => kind == RuleKind.Sink ? FirstSink + SinkStep * head : double.NegativeInfinity;

    /// <summary>What a rule adds to the largest score, by which errors are judged: its own terms, and its functions' ulps.</summary>
    public static double Reach(RuleKind kind, int keyLength) => kind switch
    {
        RuleKind.Distance => Slope * keyLength,
        RuleKind.SoftCap => 8 * Cap, // the hyperbolic tangent is within four units, of which half a one is counted anyway
        _ => 0,
    };

    /// <summary>A pipeline with its span, so that it is called as any other.</summary>
    internal static IAttentionPipeline Bind(IDocumentPipeline pipeline, PipelineConfig config)
    {
        int[] document = new int[config.KeyLength];
        for (int i = 0; i < document.Length && config.Rule == RuleKind.Documents; i++)
            document[i] = i / DocumentLength;
        return new Bound(pipeline, document);
    }

    private sealed class Bound(IDocumentPipeline pipeline, int[] document) : ICudaAttentionPipeline
    {
        private readonly CudaTensor<int>? _document =
            pipeline.Device is CudaDevice cuda ? CudaTensor.From<int>(cuda, document) : null;

        public AttentionDevice Device => pipeline.Device;

        public PipelinePlan PipelinePlan => pipeline.PipelinePlan;

        public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
            where T : unmanaged
            where TOut : unmanaged => pipeline.Run(in arguments, document);

        public void Run<T, TOut>(in CudaAttentionArguments<T, TOut> arguments, CudaStream? stream = null)
            where T : unmanaged
            where TOut : unmanaged => pipeline.Run(in arguments, _document!, stream);

        public void Warmup(
            IReadOnlyList<KernelVariant> variants, IProgress<WarmupProgress>? progress = null, CancellationToken cancellation = default) =>
            pipeline.Warmup(variants, progress, cancellation);

        public void Dispose()
        {
            _document?.Dispose();
            pipeline.Dispose();
        }
    }
}

/// <summary>A pipeline whose rules take the document of each token.</summary>
internal interface IDocumentPipeline : ICudaAttentionPipeline
{
    /// <summary>Computes attention over host memory.</summary>
    void Run<T, TOut>(in AttentionArguments<T, TOut> arguments, ReadOnlySpan<int> document)
        where T : unmanaged
        where TOut : unmanaged;

    /// <summary>Puts attention over device memory on a stream.</summary>
    void Run<T, TOut>(in CudaAttentionArguments<T, TOut> arguments, CudaTensor<int> document, CudaStream? stream = null)
        where T : unmanaged
        where TOut : unmanaged;
}
