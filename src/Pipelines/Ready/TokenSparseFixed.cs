namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention for prefill (arXiv 2602.03216) with a given number of tokens: each query head keeps as many as
/// <see cref="Options.Count"/> says, those that the last queries attend to most.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries]
[FixedCount]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparseFixed;
