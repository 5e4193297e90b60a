namespace AttnCompose.Conformance;

/// <summary>A token score in C# that reads all that such a rule may read: place, heads, length, key and value.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[TopP]
[GatherTokens]
[FlashAttention]
[ScatterTokens]
internal sealed partial class TokenRuled
{
    [TokenScoreRule]
    internal static float Weight(
        in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> value, int sinks = TokenRuleOracle.Sinks)
    {
        if (at.Position < sinks)
            return TokenRuleOracle.SinkScore;
        float sum = 0;
        for (int d = 0; d < key.Length; d++)
        {
            sum += key[d] * key[d];
            if (d % 2 == 0)
                sum += MathF.Abs(value[d]);
        }
        return sum * (1 + at.QueryHead) / (at.Length - at.Position);
    }
}

/// <summary>The same score by its definition.</summary>
internal static class TokenRuleOracle
{
    /// <summary>First tokens, which score <see cref="SinkScore"/>.</summary>
    public const int Sinks = 3;

    /// <summary>Score of the first tokens.</summary>
    public const float SinkScore = 8;

    /// <summary>Scores of a head's prefix tokens.</summary>
    /// <param name="keys">[tokens, dim] of its key/value head.</param>
    /// <param name="values">[tokens, dim].</param>
    /// <param name="dim">Head dim.</param>
    /// <param name="head">Query head.</param>
    /// <param name="length">Tokens of the sequence.</param>
    /// <param name="prefix">Tokens that have a score.</param>
    public static TReal[] Scores<TReal>(ReadOnlySpan<float> keys, ReadOnlySpan<float> values, int dim, int head, int length, int prefix)
        where TReal : struct, System.Numerics.IFloatingPointIeee754<TReal>
    {
        var scores = new TReal[prefix];
        for (int t = 0; t < prefix; t++)
        {
            TReal sum = TReal.Zero;
            for (int d = 0; d < dim; d++)
            {
                TReal key = TReal.CreateChecked(keys[t * dim + d]);
                sum += key * key + (int.IsEvenInteger(d) ? TReal.Abs(TReal.CreateChecked(values[t * dim + d])) : TReal.Zero);
            }
            scores[t] = t < Sinks ? TReal.CreateChecked(SinkScore) : TReal.CreateChecked(head + 1) * sum / TReal.CreateChecked(length - t);
        }
        return scores;
    }
}
