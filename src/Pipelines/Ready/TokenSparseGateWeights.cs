namespace AttnCompose.Pipelines;

/// <summary>
/// Token Sparse Attention (arXiv 2602.03216) over the blocks of kept tokens that a learned gate chooses, after SeerAttention
/// (arXiv 2410.13276). The gate's weights are <see cref="Tensors"/> of a call.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[GateWeights]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class TokenSparseGateWeights;
