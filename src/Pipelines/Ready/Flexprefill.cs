namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to the blocks that FlexPrefill (arXiv 2502.20766) finds, each head by a pattern of its own.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[FlexPrefill]
[BlockSparseAttention]
public sealed partial class Flexprefill;
