namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to the key blocks that a learned gate chooses, after SeerAttention (arXiv 2410.13276). The gate's weights are
/// <see cref="Tensors"/> of a call.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[GateWeights]
[BlockSparseAttention]
public sealed partial class GateWeights;
