namespace Acme.Experiments;

/// <summary>Three selectors, two of one type: buffers, options, fields and kernels of one never meet those of another.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage(Coverage = 0.01, Window = 128)]
[TestPrune(Share = 0.5)]
[TestPrune(Share = 0.25)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class CoarseToFine;
