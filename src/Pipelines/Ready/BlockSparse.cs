namespace AttnCompose.Pipelines;

/// <summary>Causal attention over the blocks of 128 queries by 128 keys that the caller lists at each call.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[GivenBlocks]
[BlockSparseAttention]
public sealed partial class BlockSparse;
