namespace Acme.Rules;

/// <summary>A mask rule with a span, a score rule with an option: the vector form, tables of neighbouring keys.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal, Element = ElementType.BFloat16)]
[FlashAttention]
public sealed partial class DocumentAlibi
{
    /// <summary>Attention falls off with distance.</summary>
    [ScoreModifier]
    private static float Alibi(float score, in ScorePosition at, [RuntimeParameter(0.0625, Min = 0)] float slope) =>
        score - slope * (at.Query - at.Key);

    /// <summary>A query sees its own document.</summary>
    [MaskModifier]
    private static bool SameDocument(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
}
