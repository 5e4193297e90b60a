namespace AttnCompose.Samples.App;

/// <summary>Causal attention of each query block to itself and to every third one before it: the block selector is of another assembly.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[StridedBlocks(Stride = 3)]
[BlockSparseAttention]
public sealed partial class StridedAttention;
