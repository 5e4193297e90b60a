namespace AttnCompose.Cli.Bench;

/// <summary>What is said of the samples of a row.</summary>
/// <param name="Count">Samples.</param>
/// <param name="Median">The middle one.</param>
/// <param name="Least">The smallest one.</param>
/// <param name="LowerQuartile">A quarter lies below.</param>
/// <param name="UpperQuartile">A quarter lies above.</param>
/// <param name="Greatest">The largest one.</param>
internal readonly record struct SampleStatistics(
    int Count, double Median, double Least, double LowerQuartile, double UpperQuartile, double Greatest)
{
    /// <summary>Statistics of samples in any order; none give NaN.</summary>
    public static SampleStatistics Of(IEnumerable<double> samples)
    {
        double[] sorted = [.. samples.Order()];
        if (sorted.Length == 0)
            return new(0, double.NaN, double.NaN, double.NaN, double.NaN, double.NaN);
        return new(
            sorted.Length, Quantile(sorted, 0.5), sorted[0], Quantile(sorted, 0.25), Quantile(sorted, 0.75), sorted[^1]);
    }

    /// <summary>A quantile of ascending samples, interpolated linearly between the two nearest.</summary>
    /// <param name="sorted">At least one sample.</param>
    /// <param name="share">In [0, 1].</param>
    public static double Quantile(ReadOnlySpan<double> sorted, double share)
    {
        double place = share * (sorted.Length - 1);
        int below = (int)place;
        int above = Math.Min(below + 1, sorted.Length - 1);
        return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
    }
}
