namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to the heavy hitters of H2O (arXiv 2306.14048): each query head keeps a given number of tokens, those to which
/// all queries together attend most, and the last ones.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[Accumulated]
[FixedCount]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparseAccumulated;
