using System.Diagnostics;
using System.Globalization;

namespace AttnCompose.Benchmarks;

/// <summary>
/// <c>-- tsa [length [repeats]]</c>: token-sparse attention against dense attention, selection, gather and scatter included. Runs
/// of the two alternate; the median of each counts.
/// </summary>
internal static class TokenSparseReport
{
    private const int Heads = 4;
    private const int Dim = 128;

    public static int Run(string[] args)
    {
        int length = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 8192;
        int repeats = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 9;
        Console.WriteLine(PeakReport.Machine());
        Line($"Causal, {Heads} heads of {Dim}, float32, N(0,1) data, {Environment.ProcessorCount} workers, median of {repeats}.");
        Line($"");
        Line($"| L | kept | coverage | dense ms | token-sparse ms | faster | pairs alone would give |");
        Line($"|---|---|---|---|---|---|---|");
        foreach (double keep in new[] { 0.25, 0.5, 0.75 })
        {
            using var tsa = new TokenSparseCase(0, length, Dim, Heads, keep);
            tsa.RunDense();
            var dense = new double[repeats];
            var sparse = new double[repeats];
            for (int i = 0; i < repeats; i++)
            {
                dense[i] = Time(tsa.RunDense);
                sparse[i] = Time(tsa.RunSparse);
            }
            (double d, double s) = (Median(dense), Median(sparse));
            Line($"| {length} | {tsa.Kept:P1} | {tsa.Coverage:F3} | {d * 1e3:F1} | {s * 1e3:F1} | {d / s:F2}x | {1 / (tsa.Kept * tsa.Kept):F2}x |");
        }
        return 0;
    }

    private static double Time(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static double Median(double[] values)
    {
        Array.Sort(values);
        return values[values.Length / 2];
    }

    private static void Line(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
}
