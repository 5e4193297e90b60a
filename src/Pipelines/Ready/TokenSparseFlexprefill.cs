namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) over the blocks that FlexPrefill (arXiv 2502.20766) finds among the kept
/// tokens.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[FlexPrefill]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparseFlexprefill;
