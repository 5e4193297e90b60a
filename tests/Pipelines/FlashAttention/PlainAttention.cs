using System.Globalization;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests.FlashAttention;

/// <summary>Attention by plain loops in double, written from the definition and sharing nothing with the kernel.</summary>
internal static class PlainAttention
{
    /// <summary>
    /// Compares every output row and log-sum-exp of a case that has run. Allowed are half a unit of the output type, and for
    /// each row what float32 leaves of its scores: 2^-22 of the largest sum of absolute products, times values of at most 2.
    /// </summary>
    public static void Check<T, TOut>(AttentionData<T, TOut> data)
        where T : unmanaged
        where TOut : unmanaged
    {
        AttentionCase c = data.Case;
        double half = typeof(TOut) == typeof(Half) ? 1.0 / 2048 : typeof(TOut) == typeof(BFloat16) ? 1.0 / 256 : 1.0 / (1 << 24);
        float[] queries = Floats(data.Query), keys = Floats(data.Key), values = Floats(data.Value), output = Floats(data.Output);
        for (int b = 0; b < c.Batch; b++)
        {
            for (int h = 0; h < c.QueryHeads; h++)
            {
                for (int row = 0; row < c.Queries; row++)
                {
                    (double[] expected, double lse, double magnitude) = Row(data, queries, keys, values, b, h, row);
                    Span<float> actual = output.AsSpan(data.Offset(c.QueryHeads, c.Queries, b, h, row), c.Dim);
                    double allowed = (4 + magnitude) / (1 << 22);
                    for (int i = 0; i < c.Dim; i++)
                    {
                        if (!(Math.Abs(actual[i] - expected[i]) <= allowed + half * Math.Abs(expected[i])))
                            Fail(c, $"output[{b}, {h}, {row}, {i}] is {actual[i]:R}, not {expected[i]:R}");
                        if (double.IsNegativeInfinity(lse) && BitConverter.SingleToUInt32Bits(actual[i]) != 0)
                            Fail(c, $"output[{b}, {h}, {row}, {i}] of a row without keys is {actual[i]:R}, not +0");
                    }
                    float actualLse = data.LogSumExpAt(b, h, row);
                    if (actualLse != lse && !(Math.Abs(actualLse - lse) <= allowed + 1e-6 * Math.Abs(lse)))
                        Fail(c, $"log-sum-exp[{b}, {h}, {row}] is {actualLse:R}, not {lse:R}");
                }
            }
        }
    }

    /// <summary>
    /// One output row, its log-sum-exp and the size of its scores; zeros and -inf for a row without keys or one that takes no
    /// part.
    /// </summary>
    private static (double[] Output, double LogSumExp, double Magnitude) Row<T, TOut>(
        AttentionData<T, TOut> data, float[] queries, float[] keyRows, float[] valueRows, int b, int h, int row)
        where T : unmanaged
        where TOut : unmanaged
    {
        AttentionCase c = data.Case;
        var output = new double[c.Dim];
        int query = data.KeyLengths[b] - data.QueryLengths[b] + row;
        int[] keys = c.Indexed ? data.Selection.Positions(b, h).ToArray() : [.. Enumerable.Range(0, data.KeyLengths[b])];
        if (row >= data.QueryLengths[b] || (c.Indexed && !keys.Contains(query)))
            return (output, double.NegativeInfinity, 0);

        int keyHead = h / (c.QueryHeads / c.KeyHeads);
        ReadOnlySpan<float> q = queries.AsSpan(data.Offset(c.QueryHeads, c.Queries, b, h, row), c.Dim);
        var scores = new List<(int Key, double Score)>();
        double magnitude = 0;
        foreach (int key in keys)
        {
            if (c.Mask == AttentionMask.Causal && key > query)
                continue;
            ReadOnlySpan<float> k = keyRows.AsSpan(data.Offset(c.KeyHeads, c.Keys, b, keyHead, key), c.Dim);
            double score = 0, absolute = 0;
            for (int i = 0; i < q.Length; i++)
            {
                score += (double)q[i] * k[i];
                absolute += Math.Abs((double)q[i] * k[i]);
            }
            magnitude = Math.Max(magnitude, absolute * c.EffectiveScale);
            score *= c.EffectiveScale;
            if (c.Rule == Rule.Alibi)
                score = AlibiHook.Score(score, b, h, query, key);
            if (c.Rule != Rule.Mask || MaskHook.Sees(keyHead, query, key))
                scores.Add((key, score));
        }
        if (scores.Count == 0)
            return (output, double.NegativeInfinity, 0);

        double maximum = scores.Max(s => s.Score);
        double sum = scores.Sum(s => Math.Exp(s.Score - maximum));
        foreach ((int key, double score) in scores)
        {
            ReadOnlySpan<float> v = valueRows.AsSpan(data.Offset(c.KeyHeads, c.Keys, b, keyHead, key), c.Dim);
            double weight = Math.Exp(score - maximum) / sum;
            for (int i = 0; i < output.Length; i++)
                output[i] += weight * v[i];
        }
        return (output, maximum + Math.Log(sum), magnitude);
    }

    private static float[] Floats<T>(T[] data) where T : unmanaged
    {
        var result = new float[data.Length];
        ElementConvert.ToFloat<T>(data, result);
        return result;
    }

    private static void Fail(AttentionCase c, FormattableString what) =>
        Assert.Fail($"{what.ToString(CultureInfo.InvariantCulture)}; replay: {c}");
}
