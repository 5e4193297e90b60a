namespace AttnCompose.Pipelines;

/// <summary>Exact causal attention over every token.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlashAttention]
public sealed partial class DenseAttention;
