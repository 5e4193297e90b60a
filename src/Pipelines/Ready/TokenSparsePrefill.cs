namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention for prefill (arXiv 2602.03216): each query head keeps the tokens that the last queries attend to,
/// attends among them, and leaves the other rows 0. Every layer may choose again.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparsePrefill;
