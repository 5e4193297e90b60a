namespace AttnCompose.Samples.App;

/// <summary>Causal attention among the tokens whose keys are shortest: the stage is of another assembly.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[LowestNorm(Count = 128, Window = 32)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class LowestNormAttention;

/// <summary>The same tokens, and among them the first ones and the last ones alone.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[LowestNorm(Count = 128, Window = 32)]
[GatherTokens]
[StreamingBlocks(Sink = 64, Local = 256)]
[BlockSparseAttention]
[ScatterTokens]
public sealed partial class LowestNormStreaming;
