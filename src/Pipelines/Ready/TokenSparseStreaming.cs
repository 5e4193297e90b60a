namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) whose kept tokens attend to the first of them and the last ones.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[StreamingBlocks]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparseStreaming;
