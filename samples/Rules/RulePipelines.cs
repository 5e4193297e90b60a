namespace AttnCompose.Samples;

/// <summary>ALiBi (arXiv 2108.12409): each head's attention falls off with distance, at a slope of its own.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class AlibiAttention
{
    // C# rounds a product before it is added, and so do rules; the fused form is one instruction of a GPU.
    [ScoreModifier]
    private static float Alibi(float score, in ScorePosition at, ReadOnlySpan<float> slopes) =>
        MathF.FusedMultiplyAdd(-slopes[at.QueryHead], at.Query - at.Key, score);

    /// <summary>The paper's slopes for a power of two of heads: 2^(-8/n), 2^(-16/n), ...</summary>
    public static float[] Slopes(int heads) => [.. Enumerable.Range(1, heads).Select(h => MathF.Pow(2, -8f * h / heads))];
}

/// <summary>Soft-capped scores (Gemma 2, arXiv 2408.00118): cap * tanh(score / cap).</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class SoftCapAttention
{
    [ScoreModifier]
    private static float SoftCap(float score, in ScorePosition at, [RuntimeParameter(50, Min = 1)] float cap) =>
        RuleMath.SoftCap(score, cap);
}

/// <summary>
/// The same with the tangent of a CUDA device, one instruction with a relative error of at most 2^-11: it moves a score by at
/// most cap / 2048.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class FastSoftCapAttention
{
    [ScoreModifier]
    private static float SoftCap(float score, in ScorePosition at, [RuntimeParameter(50, Min = 1)] float cap) =>
        cap * RuleMath.FastTanh(score * (1 / cap));
}

/// <summary>A query sees the last keys up to its own, and the first ones (arXiv 2309.17453).</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class SlidingWindowAttention
{
    [MaskModifier]
    private static bool SlidingWindow(
        in ScorePosition at, [RuntimeParameter(4096, Min = 1)] int window, [RuntimeParameter(0, Min = 0)] int sinks) =>
        at.Query - at.Key < window || at.Key < sinks;
}

/// <summary>Prefix LM (arXiv 1910.10683): the keys of a prefix are seen by every query, the others by those that follow.</summary>
[AttentionPipeline]
[FlashAttention]
public sealed partial class PrefixAttention
{
    [MaskModifier]
    private static bool Prefix(in ScorePosition at, ReadOnlySpan<int> prefixLengths) =>
        at.Key <= at.Query || at.Key < prefixLengths[at.Batch];
}

/// <summary>Several documents in one sequence: a query sees its own.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class PackedAttention
{
    [MaskModifier]
    private static bool SameDocument(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

/// <summary>T5's relative bias (arXiv 1910.10683): a learned number for each head and bucket of distance.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class RelativeBiasAttention
{
    /// <summary>Buckets of distance: one each for the near half, powers of two for the rest.</summary>
    public const int Buckets = 32;

    private const int Near = Buckets / 2, Farthest = 128;

    /// <param name="score">The score.</param>
    /// <param name="at">Where it stands.</param>
    /// <param name="bias">[query heads, <see cref="Buckets"/>].</param>
    [ScoreModifier]
    private static float RelativeBias(float score, in ScorePosition at, ReadOnlySpan<float> bias) =>
        score + bias[at.QueryHead * Buckets + Bucket(at.Query - at.Key)];

    internal static int Bucket(int distance)
    {
        if (distance >= Farthest)
            return Buckets - 1;
        if (distance < Near)
            return distance;
        float octaves = MathF.Log2((float)distance / Near) / MathF.Log2((float)Farthest / Near);
        return Math.Min(Near + (int)(octaves * (Buckets - Near)), Buckets - 1);
    }
}

/// <summary>A learned logit a head beside those of the keys (gpt-oss, arXiv 2508.10925): attention may go nowhere.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class SinkAttention
{
    [SinkLogit]
    private static float Sink(in ScorePosition at, ReadOnlySpan<float> sinks) => sinks[at.QueryHead];
}

/// <summary>The same with a window and a token selection: a selector ranks without the sink, the loop counts it once a row.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class SparseSinkAttention
{
    [MaskModifier]
    private static bool SlidingWindow(in ScorePosition at, [RuntimeParameter(4096, Min = 1)] int span) => at.Query - at.Key < span;

    [SinkLogit]
    private static float Sink(in ScorePosition at, ReadOnlySpan<float> sinks) => sinks[at.QueryHead];
}

/// <summary>Attention over blocks of 64 queries by 128 keys that the caller lists.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[GivenBlocks]
[BlockSparseAttention(BlockQuery = 64)]
public sealed partial class NarrowBlocks;
