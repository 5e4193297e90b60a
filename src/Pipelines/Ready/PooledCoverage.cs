namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to the key blocks that cover most of the map between block means, after SpargeAttn (arXiv 2502.18137).
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[PooledCoverage]
[BlockSparseAttention]
public sealed partial class PooledCoverage;
