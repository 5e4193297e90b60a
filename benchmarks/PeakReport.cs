using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using AttnCompose.Cli.Bench;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Benchmarks;

/// <summary>
/// <c>-- peak [length [repeats]]</c>: dense attention in percent of the multiply-add peak, which is measured right before and
/// after each case; the best of all counts. Times are whole calls: packing, conversion and softmax included. Exits with 1 where a case
/// passes the peak, which would mean that one of the two is measured wrongly. Useful operations are 4 * d for each pair that
/// is not masked.
/// </summary>
internal static class PeakReport
{
    private const int Heads = 4;

    private static readonly List<Row> s_rows = [];
    private static double s_peak;
    private static int s_repeats;

    public static int Run(string[] args)
    {
        int length = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 8192;
        s_repeats = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 7;
        int cores = Math.Min(2, Environment.ProcessorCount);
        int bits = KernelWidth.Bits;
        foreach (AttentionMask mask in new[] { AttentionMask.Full, AttentionMask.Causal })
        {
            Measure<float>(length, 128, Heads, mask, bits, 1);
            if (cores > 1)
                Measure<float>(length, 128, Heads, mask, bits, cores);
        }
        Measure<BFloat16>(length, 128, Heads, AttentionMask.Full, bits, cores);
        Measure<BFloat16>(length, 128, Heads, AttentionMask.Causal, bits, cores);
        Measure<Half>(length, 128, Heads, AttentionMask.Causal, bits, cores);
        Measure<float>(length, 128, 1, AttentionMask.Causal, bits, cores);
        Measure<float>(length, 64, Heads, AttentionMask.Causal, bits, cores);
        Measure<float>(length, 256, Heads, AttentionMask.Causal, bits, cores);
        Measure<float>(Math.Max(1, length / 8), 128, Heads, AttentionMask.Causal, bits, cores);
        if (bits == 512)
            Measure<float>(length, 128, Heads, AttentionMask.Causal, 256, cores);
        return Print();
    }

    /// <summary>What the numbers were measured on.</summary>
    public static string Machine() =>
        $"{ProcessorName()}, {Environment.ProcessorCount} processors, {CpuDevice.VectorBits}-bit vectors\n"
        + $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription}";

    private static void Measure<T>(int length, int dim, int keyHeads, AttentionMask mask, int bits, int workers)
        where T : unmanaged
    {
        using var dense = new DenseCase<T>(workers, mask, length, dim, Heads, keyHeads);
        KernelWidth.Force(bits);
        dense.Run();
        s_peak = Math.Max(s_peak, CpuPeak.Measure());
        double best = double.PositiveInfinity;
        for (int i = 0; i < s_repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            dense.Run();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        s_peak = Math.Max(s_peak, CpuPeak.Measure());
        KernelWidth.Force(0);
        s_rows.Add(new Row(typeof(T).Name, length, dim, keyHeads, mask, bits, workers, best, dense.Operations / best));
    }

    private static int Print()
    {
        Console.WriteLine(Machine());
        Line($"Peak {s_peak / 1e9:F1} GFLOP/s a core. {Heads} query heads, as many queries as keys, best of {s_repeats}.");
        Line($"");
        Line($"| inputs | L | d | key heads | mask | vectors | workers | ms | GFLOP/s | of peak | over one worker |");
        Line($"|---|---|---|---|---|---|---|---|---|---|---|");
        bool passed = false;
        foreach (Row row in s_rows)
        {
            double peak = s_peak * row.Workers * (row.Bits == 256 && CpuDevice.VectorBits == 512 ? 0.5 : 1);
            passed |= row.Rate > peak;
            FormattableString gain = OneWorker(row) is { } one ? (FormattableString)$"{one.Seconds / row.Seconds:F2}x" : $"";
            string what = $"{row.Inputs} | {row.Length} | {row.Dim} | {row.KeyHeads} | {row.Mask} | {row.Bits} | {row.Workers}";
            Line($"| {what} | {row.Seconds * 1e3:F1} | {row.Rate / 1e9:F1} | {row.Rate / peak:P1} | {FormattableString.Invariant(gain)} |");
        }
        if (passed)
            Console.Error.WriteLine("A case passes the peak: the measurement is wrong.");
        return passed ? 1 : 0;
    }

    // The same case on one worker, for a case on more.
    private static Row? OneWorker(Row row) => row.Workers == 1 ? null
        : s_rows.Find(r => r.Workers == 1 && r with { Workers = row.Workers, Seconds = row.Seconds, Rate = row.Rate } == row);

    private static void Line(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    private static string ProcessorName()
    {
        const string Info = "/proc/cpuinfo";
        const string Key = "model name";
        if (!File.Exists(Info))
            return RuntimeInformation.ProcessArchitecture.ToString();
        string? line = File.ReadLines(Info).FirstOrDefault(l => l.StartsWith(Key, StringComparison.Ordinal));
        return line is null ? RuntimeInformation.ProcessArchitecture.ToString() : line[(line.IndexOf(':') + 1)..].Trim();
    }

    private sealed record Row(
        string Inputs, int Length, int Dim, int KeyHeads, AttentionMask Mask, int Bits, int Workers, double Seconds, double Rate);
}
