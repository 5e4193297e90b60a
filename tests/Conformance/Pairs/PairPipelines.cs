// Written by tests/Generators/Pairs: every pair of stages, head scope, block size, modifier and mask that the generator admits is
// in one of these or in a ready pipeline. What none has fails there, and ATTNCOMPOSE_ACCEPT=1 adds what is missing.
namespace AttnCompose.Conformance;

internal static class PairPipelines
{
    public static IReadOnlyList<PipelineDescriptor> All { get; } =
    [
        Pair01.Descriptor, Pair02.Descriptor, Pair03.Descriptor, Pair04.Descriptor, Pair05.Descriptor, Pair06.Descriptor,
        Pair07.Descriptor, Pair08.Descriptor, Pair09.Descriptor, Pair10.Descriptor, Pair11.Descriptor, Pair12.Descriptor,
        Pair13.Descriptor, Pair14.Descriptor, Pair15.Descriptor, Pair16.Descriptor, Pair17.Descriptor, Pair18.Descriptor,
        Pair19.Descriptor, Pair20.Descriptor, Pair21.Descriptor, Pair22.Descriptor, Pair23.Descriptor, Pair24.Descriptor,
        Pair25.Descriptor, Pair26.Descriptor, Pair27.Descriptor, Pair28.Descriptor, Pair29.Descriptor, Pair30.Descriptor,
        Pair31.Descriptor, Pair32.Descriptor, Pair33.Descriptor, Pair34.Descriptor, Pair35.Descriptor, Pair36.Descriptor,
        Pair37.Descriptor, Pair38.Descriptor, Pair39.Descriptor, Pair40.Descriptor, Pair41.Descriptor, Pair42.Descriptor,
        Pair43.Descriptor, Pair44.Descriptor, Pair45.Descriptor, Pair46.Descriptor, Pair47.Descriptor, Pair48.Descriptor,
        Pair49.Descriptor, Pair50.Descriptor, Pair51.Descriptor, Pair52.Descriptor, Pair53.Descriptor, Pair54.Descriptor,
        Pair55.Descriptor, Pair56.Descriptor, Pair57.Descriptor, Pair58.Descriptor, Pair59.Descriptor, Pair60.Descriptor,
        Pair61.Descriptor, Pair62.Descriptor,
    ];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), Coverage, RecentQueries(Pool = 1), TopP, GatherTokens]
[GivenBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair01
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.Layer), DepthSchedule, RecentQueries(Pool = 1), TopP, GatherTokens]
[PooledCoverage, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair02
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMean), TopP, RecentQueries(Pool = 1), TopP, GatherTokens]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair03
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.KeyValueHeadMax), FixedCount, RecentQueries(Pool = 1), TopP, GatherTokens]
[FlexPrefill, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair04
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RecentQueries(Heads = HeadScope.Layer), Coverage, GatherTokens]
[VerticalSlash, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair05
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), FixedRatio, GatherTokens]
[FlexPrefill, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair06 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.KeyValueHeadMax), TopP, RecentQueries(Pool = 1), TopP, GatherTokens]
[VerticalSlash, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair07 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Heads = HeadScope.Layer), FixedRatio, GatherTokens]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair08
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RecentQueries(Heads = HeadScope.QueryHead), Coverage, RecentQueries(Pool = 1), TopP, GatherTokens]
[AntiDiagonal, BlockSparseAttention(BlockQuery = 128, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair09
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[RandomTokens(Heads = HeadScope.KeyValueHeadMean), FixedCount, RecentQueries(Pool = 1), TopP, GatherTokens]
[GivenBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair10
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[Accumulated(Heads = HeadScope.KeyValueHeadMax), DepthSchedule, GatherTokens]
[PooledTopK, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair11
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[RandomTokens(Heads = HeadScope.KeyValueHeadMax), Coverage, GatherTokens]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair12
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Heads = HeadScope.QueryHead), DepthSchedule, GatherTokens]
[FlexPrefill, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair13
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), DepthSchedule, GatherTokens]
[VerticalSlash, BlockSparseAttention(BlockQuery = 128, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair14
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.KeyValueHeadSum), FixedCount, RecentQueries(Pool = 1), TopP, GatherTokens]
[PooledTopK, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair15
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RecentQueries(Heads = HeadScope.QueryHead), DepthSchedule, GatherTokens]
[GivenBlocks, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair16 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RecentQueries(Heads = HeadScope.KeyValueHeadMean), FixedRatio, GatherTokens]
[VerticalSlash, BlockSparseAttention(BlockQuery = 128, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair17
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.Layer), TopP, GatherTokens]
[FlexPrefill, BlockSparseAttention(BlockQuery = 128, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair18
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.KeyValueHeadMax), FixedRatio, GatherTokens]
[GivenBlocks, BlockSparseAttention(BlockQuery = 128, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair19
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RecentQueries(Heads = HeadScope.KeyValueHeadSum), Coverage, RecentQueries(Pool = 1), TopP, GatherTokens]
[PooledCoverage, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair20;

[AttentionPipeline(Mask = AttentionMask.Full)]
[VerticalSlash, BlockSparseAttention(BlockQuery = 64, BlockKey = 128)]
internal sealed partial class Pair21
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Heads = HeadScope.KeyValueHeadMean), TopP, RecentQueries(Pool = 1), TopP, GatherTokens]
[PooledTopK, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair22
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), Coverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair23
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.Layer), FixedCount, GatherTokens]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 128, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair24 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, RecentQueries(Pool = 1), TopP, GatherTokens]
[GivenBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair25
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlexPrefill, BlockSparseAttention(BlockQuery = 128, BlockKey = 64)]
internal sealed partial class Pair26
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 64)]
internal sealed partial class Pair27
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.Layer), FixedRatio, GatherTokens]
[AntiDiagonal, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair28
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.KeyValueHeadSum), TopP, GatherTokens]
[AntiDiagonal, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair29;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMean), Coverage, GatherTokens]
[FlexPrefill, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair30
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Causal)]
[Accumulated(Heads = HeadScope.Layer), DepthSchedule, RecentQueries(Pool = 1), TopP, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair31
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), DepthSchedule, GatherTokens]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair32
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[FlashAttention]
internal sealed partial class Pair33 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[FlashAttention]
internal sealed partial class Pair34
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), FixedCount, GatherTokens]
[VerticalSlash, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair35
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), FixedCount, GatherTokens]
[PooledCoverage, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair36;

[AttentionPipeline(Mask = AttentionMask.Causal)]
[Accumulated(Heads = HeadScope.Layer), Coverage, RecentQueries(Pool = 1), TopP, GatherTokens]
[PooledTopK, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair37;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMax), FixedRatio, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair38
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), TopP, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair39
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.Layer), TopP, GatherTokens]
[GivenBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair40
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMean), DepthSchedule, GatherTokens]
[AntiDiagonal, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair41;

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, GatherTokens]
[FlexPrefill, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair42
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), Coverage, GatherTokens]
[StreamingBlocks, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair43
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMax), FixedCount, GatherTokens]
[AntiDiagonal, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair44;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMean), FixedRatio, GatherTokens]
[PooledCoverage, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair45;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), FixedRatio, GatherTokens]
[PooledTopK, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair46;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMax), TopP, GatherTokens]
[PooledCoverage, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair47;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadMean), Coverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair48 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.Layer), FixedCount, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair49
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, GatherTokens]
[VerticalSlash, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair50
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[FlashAttention]
internal sealed partial class Pair51
{
    [ScoreModifier]
    internal static float SoftCap(float score, in ScorePosition at) =>
        RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), TopP, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair52
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair53
{
    [ScoreModifier]
    internal static float Distance(float score, in ScorePosition at) =>
        score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair54
{
    [MaskModifier]
    internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair55
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[TokenCoverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair56 : IDocumentPipeline
{
    [MaskModifier]
    internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), Coverage, GatherTokens]
[FlashAttention, ScatterTokens]
internal sealed partial class Pair57
{
    [MaskModifier]
    internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.QueryHead), Coverage, RecentQueries(Pool = 1), TopP, GatherTokens]
[GateWeights, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair58
{
    [SinkLogit]
    internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
}

[AttentionPipeline(Mask = AttentionMask.Full)]
[RandomTokens(Heads = HeadScope.KeyValueHeadMean), DepthSchedule, GatherTokens]
[GateWeights, BlockSparseAttention(BlockQuery = 64, BlockKey = 128), ScatterTokens]
internal sealed partial class Pair59;

[AttentionPipeline(Mask = AttentionMask.Full)]
[RecentQueries(Heads = HeadScope.KeyValueHeadMax), FixedCount, GatherTokens]
[GateWeights, BlockSparseAttention(BlockQuery = 128, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair60;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.KeyValueHeadSum), FixedRatio, GatherTokens]
[GateWeights, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair61;

[AttentionPipeline(Mask = AttentionMask.Full)]
[Accumulated(Heads = HeadScope.Layer), TopP, GatherTokens]
[GateWeights, BlockSparseAttention(BlockQuery = 64, BlockKey = 64), ScatterTokens]
internal sealed partial class Pair62;
