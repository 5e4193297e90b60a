namespace Acme.Rules;

/// <summary>Rules beside a token selection, which scores by them too.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TokenCoverage(Window = 64)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class SparseSoftCap
{
    private const int Sinks = 4;

    [ScoreModifier]
    private static float SoftCap(float score, in ScorePosition at, float cap = 30, bool fast = false)
    {
        float x = score * (1 / cap);
        return cap * (fast ? RuleMath.FastTanh(x) : MathF.Tanh(x));
    }

    [MaskModifier]
    private static bool SlidingWindow(in ScorePosition at, int window = 4096) => at.Key < Sinks || at.Query - at.Key < window;
}
