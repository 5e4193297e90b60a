namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) over the blocks that the antidiagonals of XAttention (arXiv 2503.16428) find
/// among the kept tokens.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[AntiDiagonal]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparseAntidiagonal;
