namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to tokens that are chosen first and pruned then, as in Twilight (arXiv 2502.02770): the share of the tokens that
/// the query heads of a key/value head attend to most, together, and of those the fewest that hold a share of each head's own
/// attention.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Heads = HeadScope.KeyValueHeadMax)]
[FixedRatio]
[RecentQueries(Pool = 1)]
[TopP]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparseTwilight;
