namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention of each query block to itself and the key blocks whose mean it likes best, after MoBA (arXiv 2502.13189).
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[PooledTopK]
[BlockSparseAttention]
public sealed partial class PooledTopK;
