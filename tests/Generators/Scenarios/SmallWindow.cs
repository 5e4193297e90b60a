namespace Acme.LongDocuments;

/// <summary>Token Sparse Attention with a window and a pool of its own; stages in another order than they run.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal, Element = ElementType.BFloat16)]
[ScatterTokens]
[FlashAttention]
[GatherTokens]
[TokenCoverage(Window = 64, Pool = 5, Coverage = 0.02, MinTokens = 256)]
public sealed partial class SmallWindow;
