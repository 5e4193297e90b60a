namespace Acme.Experiments;

/// <summary>Two selectors of one type: buffers, options, fields and kernels of one never meet those of the other.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage(Coverage = 0.01, Window = 128)]
[TokenCoverage(Coverage = 0.1, Window = 32, Pool = 3)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class CoarseToFine;
