namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) over the blocks of kept tokens that cover most of the map between their means,
/// after SpargeAttn (arXiv 2502.18137).
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[PooledCoverage]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparsePooledCoverage;
