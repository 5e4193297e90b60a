namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to fewer tokens in higher layers, as in PyramidKV (arXiv 2406.02069): those that the last queries attend to
/// most, by the mean over the query heads of a key/value head. Each call names its layer.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Heads = HeadScope.KeyValueHeadMean)]
[DepthSchedule]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparsePyramid;
