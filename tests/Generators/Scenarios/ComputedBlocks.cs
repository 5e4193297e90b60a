namespace Acme.Experiments;

/// <summary>A block selector with a kernel of its own, over the compressed sequence of a token selector.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage]
[GatherTokens]
[TestBlocks(Local = 8)]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class ComputedBlocks;
