namespace Acme.Custom;

/// <summary>A selector of another assembly, two of whose phases share a kernel, around the built-in kernel.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal, HeadDim = 64)]
[TestSelect(Share = 0.25, Window = 16)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class KeepBest;
