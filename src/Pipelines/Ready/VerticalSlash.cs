namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to the columns and diagonals that a head's last queries attend to (MInference, arXiv 2407.02490).
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[VerticalSlash]
[BlockSparseAttention]
public sealed partial class VerticalSlash;
