namespace AttnCompose.Pipelines;

/// <summary>
/// Causal attention to a share of the tokens chosen at random: the control that every token selector has to beat.
/// </summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RandomTokens]
[FixedRatio]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class TokenSparseRandom;
