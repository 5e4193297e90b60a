namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) over the columns and diagonals of the kept tokens (MInference, arXiv
/// 2407.02490).
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[VerticalSlash]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparseVerticalSlash;
