using System.Numerics;

namespace AttnCompose.Conformance;

/// <summary>
/// Attention by its definition, plain loops over [heads][rows][dim] arrays. In double it is the truth; in float it is what
/// straightforward code of the same precision would get, the yardstick of <see cref="Tolerance"/>.
/// </summary>
public static class AttentionOracle
{
    /// <summary>
    /// Attention of one query head over chosen rows. Output rows of queries that take no part stay +0, their log-sum-exp -inf.
    /// </summary>
    /// <param name="query">[Lq, dim] of this head.</param>
    /// <param name="key">[Lk, dim] of its key/value head.</param>
    /// <param name="value">[Lk, dim] of its key/value head.</param>
    /// <param name="dim">Head dim.</param>
    /// <param name="firstQuery">Position of query 0 among the keys.</param>
    /// <param name="keys">Positions of the keys that take part, ascending.</param>
    /// <param name="queries">Query rows that take part.</param>
    /// <param name="causal">Whether a query sees keys up to its own position only.</param>
    /// <param name="scale">Factor of query times key.</param>
    /// <param name="rule">A score rule on (score, query position, key position), or null.</param>
    /// <param name="output">[Lq, dim].</param>
    /// <param name="logSumExp">[Lq].</param>
    /// <param name="probability">What a probability is rounded to before it is multiplied with a value; any for not at all.</param>
    /// <param name="sink">A logit that the denominator has beside the scores; -inf for none.</param>
    public static void Attend<TReal>(
        ReadOnlySpan<float> query, ReadOnlySpan<float> key, ReadOnlySpan<float> value, int dim, int firstQuery,
        ReadOnlySpan<int> keys, ReadOnlySpan<int> queries, bool causal, double scale, ScoreRule? rule,
        Span<TReal> output, Span<TReal> logSumExp, ElementType probability = ElementType.Any, double sink = double.NegativeInfinity)
        where TReal : struct, IFloatingPointIeee754<TReal>
    {
        output.Clear();
        logSumExp.Fill(TReal.NegativeInfinity);
        TReal[] q = Convert<TReal>(query), k = Convert<TReal>(key), v = Convert<TReal>(value);
        var probabilities = new TReal[keys.Length];
        var sums = new TReal[dim];
        foreach (int row in queries)
        {
            int position = firstQuery + row;
            int visible = keys.Length;
            while (causal && visible > 0 && keys[visible - 1] > position)
                visible--;
            TReal logit = TReal.CreateTruncating(sink), largest = logit;
            for (int i = 0; i < visible; i++)
            {
                probabilities[i] = Score(
                    q.AsSpan(row * dim, dim), k.AsSpan(keys[i] * dim, dim), scale, rule, position, keys[i]);
                largest = TReal.Max(largest, probabilities[i]);
            }
            if (TReal.IsNegativeInfinity(largest))
                continue;
            TReal sum = TReal.Exp(logit - largest);
            Array.Clear(sums);
            for (int i = 0; i < visible; i++)
            {
                TReal exponential = TReal.Exp(probabilities[i] - largest);
                sum += exponential;
                TReal factor = probability == ElementType.Any
                    ? exponential
                    : TReal.CreateTruncating(Tolerance.Round(double.CreateTruncating(exponential), probability));
                ReadOnlySpan<TReal> values = v.AsSpan(keys[i] * dim, dim);
                for (int d = 0; d < values.Length; d++)
                    sums[d] += factor * values[d];
            }
            for (int d = 0; d < dim; d++)
                output[row * dim + d] = sums[d] / sum;
            logSumExp[row] = largest + TReal.Log(sum);
        }
    }

    /// <summary>
    /// Raw selection scores of one query head: for each of the first <paramref name="prefix"/> keys the mean of its
    /// probability over the last <paramref name="window"/> queries (or as many as there are), causal by position.
    /// </summary>
    public static TReal[] PrefixScores<TReal>(
        ReadOnlySpan<float> query, ReadOnlySpan<float> key, int dim, int queryLength, int keyLength, int window, int prefix,
        double scale, ScoreRule? rule)
        where TReal : struct, IFloatingPointIeee754<TReal>
    {
        TReal[] q = Convert<TReal>(query), k = Convert<TReal>(key);
        var result = new TReal[prefix];
        int rows = Math.Min(window, queryLength);
        var probabilities = new TReal[keyLength];
        for (int row = queryLength - rows; row < queryLength; row++)
        {
            int position = keyLength - queryLength + row;
            int visible = Math.Clamp(position + 1, 0, keyLength);
            TReal largest = TReal.NegativeInfinity;
            for (int t = 0; t < visible; t++)
            {
                probabilities[t] = Score(q.AsSpan(row * dim, dim), k.AsSpan(t * dim, dim), scale, rule, position, t);
                largest = TReal.Max(largest, probabilities[t]);
            }
            if (TReal.IsNegativeInfinity(largest))
                continue;
            TReal sum = TReal.Zero;
            for (int t = 0; t < visible; t++)
            {
                probabilities[t] = TReal.Exp(probabilities[t] - largest);
                sum += probabilities[t];
            }
            for (int t = 0; t < Math.Min(prefix, visible); t++)
                result[t] += probabilities[t] / sum;
        }
        for (int t = 0; t < prefix; t++)
            result[t] /= TReal.CreateChecked(rows);
        return result;
    }

    private static TReal[] Convert<TReal>(ReadOnlySpan<float> values)
        where TReal : struct, IFloatingPointIeee754<TReal>
    {
        var result = new TReal[values.Length];
        for (int i = 0; i < values.Length; i++)
            result[i] = TReal.CreateChecked(values[i]);
        return result;
    }

    private static TReal Score<TReal>(
        ReadOnlySpan<TReal> query, ReadOnlySpan<TReal> key, double scale, ScoreRule? rule, int queryPosition, int keyPosition)
        where TReal : struct, IFloatingPointIeee754<TReal>
    {
        TReal dot = TReal.Zero;
        for (int d = 0; d < query.Length; d++)
            dot += query[d] * key[d];
        TReal score = dot * TReal.CreateTruncating(scale);
        return rule is null ? score : TReal.CreateTruncating(rule(double.CreateTruncating(score), queryPosition, keyPosition));
    }
}

/// <summary>A score or mask rule of the tests: scaled score in natural units, positions in the original sequence.</summary>
public delegate double ScoreRule(double score, int query, int key);
