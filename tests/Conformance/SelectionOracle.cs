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

    /// <summary>
    /// How many highest scores may be the fewest that hold a share of them, when each is known up to a relative and an absolute
    /// error: in descending order, sums are bounded without knowing the order of the tokens.
    /// </summary>
    public static (int Least, int Most) FewestHoldingRange(
        double[] scores, double share, int minTokens, double relativeError, double absoluteError)
    {
        int count = scores.Length;
        double total = scores.Sum();
        if (minTokens >= count)
            return (count, count);
        double slack = relativeError * total + absoluteError * count + total * 1e-12;
        if (total <= slack)
            return (Math.Max(0, minTokens), count); // nothing may be left of the scores, and then everything is kept
        (int fewest, int most) = (count, count);
        double sum = 0, error = 0;
        double[] sorted = [.. scores.OrderDescending()];
        for (int kept = count == 0 ? 1 : 0; kept <= count; kept++)
        {
            if (fewest == count && sum + error + slack >= share * total)
                fewest = Math.Min(fewest, kept);
            if (sum - error - slack >= share * total)
            {
                most = kept;
                break;
            }
            if (kept < count)
            {
                sum += sorted[kept];
                error += relativeError * sorted[kept] + absoluteError;
            }
        }
        return (Math.Max(minTokens, fewest), Math.Max(minTokens, share == 0 ? 0 : most));
    }

    /// <summary>The same from float32 scores, with masses as integers: exact.</summary>
    public static int FewestHolding(float[] scores, double share, int minTokens)
    {
        bool isFinite = !scores.Any(value => float.IsNaN(value) || float.IsPositiveInfinity(value));
        if (minTokens >= scores.Length || !isFinite || scores.All(value => value <= 0))
            return scores.Length;
        int exponent = (int)Math.Floor(Math.Log2(scores.Max()));
        if (Math.ScaleB(1, exponent) > scores.Max())
            exponent--;
        UInt128[] masses =
        [
            .. scores.Select(value => value <= 0 ? 0 : (UInt128)Math.Truncate(Math.ScaleB((double)value, 39 - exponent))).OrderDescending(),
        ];
        UInt128 total = 0;
        foreach (UInt128 mass in masses)
            total += mass;
        var part = (UInt128)Math.Round(Math.ScaleB(share, 63), MidpointRounding.ToEven);
        UInt128 wanted = (part * total + (UInt128.One << 63) - 1) >> 63;
        int kept = 0;
        UInt128 sum = 0;
        while (sum < wanted)
            sum += masses[kept++];
        return Math.Max(minTokens, kept);
    }

    /// <summary>What heads rank by, from their scores [heads][prefix]: their own, or one for all of a scope.</summary>
    public static T[][] Join<T>(T[][] scores, int group, HeadScope scope)
        where T : struct, System.Numerics.IFloatingPointIeee754<T>
    {
        int unit = scope switch { HeadScope.QueryHead => 1, HeadScope.Layer => scores.Length, _ => group };
        return [.. scores.Select((_, head) => scores[head].Select((own, t) =>
        {
            if (scope == HeadScope.QueryHead)
                return own;
            T[] together = [.. scores.Skip(head / unit * unit).Take(unit).Select(row => row[t])];
            T sum = together.Aggregate(T.Zero, (all, score) => all + score);
            T result = scope switch
            {
                HeadScope.KeyValueHeadMax => together.Aggregate(T.Zero, (largest, score) => score > largest ? score : largest),
                HeadScope.KeyValueHeadSum => sum,
                _ => sum / T.CreateChecked(unit),
            };
            return T.IsSubnormal(result) && typeof(T) == typeof(float) || T.IsZero(result) ? T.Zero : result;
        }).ToArray())];
    }

    /// <summary>Mean over the heads, token by token.</summary>
    public static double[] Mean(double[][] scores) =>
        [.. Enumerable.Range(0, scores[0].Length).Select(t => scores.Average(row => row[t]))];

    /// <summary>The score that [RandomTokens] gives a token.</summary>
    public static double RandomScore(int seed, int layer, int head, int token)
    {
        const ulong golden = 0x9E3779B97F4A7C15;
        ulong key = Mix(Mix((ulong)seed + golden) ^ (((ulong)layer << 32) + (ulong)head));
        return ((Mix(key + (ulong)token * golden) >> 40) + 1) / 16777216.0;

        static ulong Mix(ulong x)
        {
            x ^= x >> 30;
            x *= 0xBF58476D1CE4E5B9;
            x ^= x >> 27;
            x *= 0x94D049BB133111EB;
            return x ^ (x >> 31);
        }
    }

    private static float Canonical(float value) => float.IsSubnormal(value) || value == 0 ? 0 : value;

    private static float Round(float value, bool toBFloat16) => toBFloat16 ? (float)(BFloat16)value : value;
}
