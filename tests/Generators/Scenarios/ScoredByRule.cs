namespace Acme.Rules;

/// <summary>A token score in C#: the first tokens before all others, then by key and value, weighed by place; beside a score rule.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TopP(P = 0.9)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class ScoredByRule
{
    [TokenScoreRule(Window = 64, Pool = 3, Heads = HeadScope.KeyValueHeadMax)]
    private static float Weight(
        in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ReadOnlySpan<float> weights, int sinks = 4, float floor = 0.5f)
    {
        if (at.Position < sinks)
            return float.MaxValue;
        float product = 0;
        for (int d = 0; d < key.Length; d++)
            product += key[d] * value[d];
        float norm = MathF.Sqrt(SquaredNorm(value));
        if (product < 0)
            norm *= floor;
        return norm * weights[at.Position];
    }

    private static float SquaredNorm(ReadOnlySpan<float> row)
    {
        float sum = 0;
        for (int d = 0; d < row.Length; d++)
            sum += row[d] * row[d];
        return sum;
    }

    [ScoreModifier]
    private static float Alibi(float score, in ScorePosition at, ReadOnlySpan<float> slopes) => score - slopes[at.QueryHead] * (at.Query - at.Key);
}
