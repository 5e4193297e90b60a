namespace Acme.Experiments;

/// <summary>Small blocks, with columns and slashes beside them.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[GivenBlocks(Columns = true, Slashes = true)]
[BlockSparseAttention(BlockQuery = 64, BlockKey = 64)]
public sealed partial class BlocksAndColumns;
