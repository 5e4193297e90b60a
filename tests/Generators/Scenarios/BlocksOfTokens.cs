namespace Acme.Experiments;

/// <summary>A block list over the compressed sequence of a token selection.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[GivenBlocks(Columns = true)]
[BlockSparseAttention(BlockQuery = 64)]
[ScatterTokens]
public sealed partial class BlocksOfTokens;
