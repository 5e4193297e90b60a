namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention of each query head to the fewest tokens that hold a share of what its last queries attend to: the score of
/// Token Sparse Attention (arXiv 2602.03216) with the budget of Twilight (arXiv 2502.02770), a number of tokens for each head.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries]
[TopP]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparseTopP;
