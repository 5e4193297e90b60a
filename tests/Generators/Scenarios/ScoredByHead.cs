namespace Acme.Rules;

/// <summary>A token score that differs from query head to query head and has no vector form, behind a selector whose choice it prunes.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[RecentQueries(Window = 64)]
[Coverage(Coverage = 0.01)]
[FixedRatio(Ratio = 0.25)]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
public sealed partial class ScoredByHead
{
    [TokenScoreRule(Window = 64)]
    private static float Likeness(in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> directions)
    {
        float product = 0;
        for (int d = 0; d < key.Length; d++)
        {
            if (float.IsNaN(key[d]))
                break;
            product += key[d] * directions[at.QueryHead * key.Length + d];
        }
        return MathF.Exp(product);
    }
}
