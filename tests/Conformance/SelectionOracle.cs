namespace AttnCompose.Conformance;

/// <summary>
/// Token selection by its definition: sorts, big integers and plain loops. Fed float32 scores it follows the promised
/// operations to the bit; fed doubles it is the truth that float32 scores approximate.
/// </summary>
public static class SelectionOracle
{
    /// <summary>Kept positions of each head from raw float32 scores, with the promised rounding and integer masses.</summary>
    /// <param name="raw">[heads][prefix] raw scores.</param>
    /// <param name="coverage">Share of mass dropped.</param>
    /// <param name="window">Tokens after the prefix, always kept.</param>
    /// <param name="pool">Width of the average pool.</param>
    /// <param name="minTokens">Prefix tokens kept in any case.</param>
    /// <param name="toBFloat16">Whether scores are rounded to bfloat16.</param>
    public static int[][] Select(float[][] raw, double coverage, int window, int pool, int minTokens, bool toBFloat16)
    {
        int prefix = raw[0].Length;
        float[][] pooled = [.. raw.Select(scores => Pool(scores, pool, toBFloat16))];
        var mean = new float[prefix];
        for (int t = 0; t < prefix; t++)
        {
            float sum = 0;
            foreach (float[] scores in pooled)
                sum += scores[t];
            mean[t] = Canonical(sum / pooled.Length);
        }
        int kept = KeptPrefix(mean, coverage, minTokens);
        return [.. pooled.Select(scores => Highest(scores, kept).Concat(Enumerable.Range(prefix, window)).ToArray())];
    }

    /// <summary>Average pool in the promised order, every operation rounded to float32.</summary>
    public static float[] Pool(float[] raw, int pool, bool toBFloat16)
    {
        float[] scores = [.. raw.Select(value => Round(Canonical(value), toBFloat16))];
        var result = new float[raw.Length];
        for (int t = 0; t < raw.Length; t++)
        {
            float sum = 0;
            for (int j = t - pool / 2; j <= t + pool / 2; j++)
            {
                if (j >= 0 && j < raw.Length)
                    sum += scores[j];
            }
            result[t] = Round(Canonical(sum / pool), toBFloat16);
        }
        return result;
    }

    /// <summary>The budget from the mean scores, with masses as integers.</summary>
    public static int KeptPrefix(float[] mean, double coverage, int minTokens)
    {
        if (minTokens >= mean.Length || mean.Any(value => !float.IsFinite(value)) || mean.All(value => value <= 0))
            return mean.Length;
        int exponent = (int)Math.Floor(Math.Log2(mean.Max()));
        if (Math.ScaleB(1, exponent) > mean.Max())
            exponent--;
        UInt128[] masses =
        [
            .. mean.Select(value => value <= 0 ? 0 : (UInt128)Math.Truncate(Math.ScaleB((double)value, 39 - exponent))).Order(),
        ];
        UInt128 total = 0;
        foreach (UInt128 mass in masses)
            total += mass;
        var share = (UInt128)Math.Round(Math.ScaleB(coverage, 63), MidpointRounding.ToEven);
        (UInt128 target, UInt128 rest) = UInt128.DivRem(share * total, UInt128.One << 63);
        if (rest != 0)
            target++;
        int count = 0;
        UInt128 sum = 0;
        foreach (UInt128 mass in masses)
        {
            sum += mass;
            if (sum >= target)
                break;
            count++;
        }
        return Math.Max(minTokens, mean.Length - (count == 0 ? 0 : count + 1));
    }

    /// <summary>Positions of the highest scores, ascending; NaN lowest, ties to the lower position.</summary>
    public static int[] Highest(float[] scores, int kept) =>
        [.. Enumerable.Range(0, scores.Length)
            .OrderBy(t => float.IsNaN(scores[t]) ? 1 : 0)
            .ThenByDescending(t => float.IsNaN(scores[t]) ? 0 : scores[t])
            .ThenBy(t => t)
            .Take(kept)
            .Order()];

    /// <summary>Average pool in double.</summary>
    public static double[] Pool(double[] raw, int pool)
    {
        var result = new double[raw.Length];
        for (int t = 0; t < raw.Length; t++)
        {
            for (int j = Math.Max(0, t - pool / 2); j <= Math.Min(raw.Length - 1, t + pool / 2); j++)
                result[t] += raw[j];
            result[t] /= pool;
        }
        return result;
    }

    /// <summary>
    /// The kept prefix counts that are possible when each mean is known up to a relative and an absolute error. The i-th
    /// smallest of the inexact means lies within the error of the i-th smallest exact one, so cumulative sums are bounded
    /// without knowing the order of the tokens.
    /// </summary>
    public static (int Least, int Most) KeptPrefixRange(
        double[] mean, double coverage, int minTokens, double relativeError, double absoluteError)
    {
        if (minTokens >= mean.Length)
            return (mean.Length, mean.Length);
        double[] sorted = [.. mean.Order()];
        double total = sorted.Sum();
        double slack = relativeError * total + absoluteError * mean.Length + total * 1e-12;
        (int fewest, int most) = (0, 0);
        double sum = 0, error = 0;
        foreach (double value in sorted)
        {
            sum += value;
            error += relativeError * value + absoluteError;
            if (sum + error < coverage * (total - slack))
                fewest++;
            if (sum - error - total * 1e-12 < coverage * (total + slack))
                most++;
        }
        return (Kept(Math.Min(most, mean.Length - 1)), Kept(fewest));

        int Kept(int count) => Math.Max(minTokens, mean.Length - (count == 0 ? 0 : count + 1));
    }

    private static float Canonical(float value) => float.IsSubnormal(value) || value == 0 ? 0 : value;

    private static float Round(float value, bool toBFloat16) => toBFloat16 ? (float)(BFloat16)value : value;
}
