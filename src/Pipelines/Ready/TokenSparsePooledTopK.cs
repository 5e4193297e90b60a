namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) whose blocks of kept tokens visit those whose mean they like best, after MoBA
/// (arXiv 2502.13189).
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[PooledTopK]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparsePooledTopK;
