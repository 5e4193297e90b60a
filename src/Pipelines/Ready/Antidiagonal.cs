namespace AttnCompose.Pipelines;

/// <summary>Causal attention to the blocks that the antidiagonals of XAttention (arXiv 2503.16428) find.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[AntiDiagonal]
[BlockSparseAttention]
public sealed partial class Antidiagonal;
