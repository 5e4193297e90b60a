using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Benchmarks;

/// <summary>
/// <c>-- peak [length]</c>: dense attention in percent of the multiply-add peak, which is measured right before and after each
/// case. Times are whole calls: packing, conversion and softmax included. Exits with 1 where a case passes the peak, which
/// would mean that one of the two is measured wrongly.
/// </summary>
internal static class PeakReport
{
    private const int Heads = 4;
    private const int Repeats = 5;

    private static bool s_passedPeak;

    public static int Run(string[] args)
    {
        int length = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 8192;
        int cores = Math.Min(2, Environment.ProcessorCount);
        Line($"{ProcessorName()}, {CpuDevice.VectorBits}-bit vectors, {RuntimeInformation.FrameworkDescription}, {Environment.ProcessorCount} processors");
        Line($"{Heads} heads, {length} queries and keys, useful operations 4 * d per unmasked pair, best of {Repeats}");
        Line($"");
        Line($"| inputs | d | key heads | mask | vectors | workers | ms | GFLOP/s | peak GFLOP/s | of peak |");
        Line($"|---|---|---|---|---|---|---|---|---|---|");
        int bits = KernelWidth.Bits;
        foreach (AttentionMask mask in new[] { AttentionMask.Full, AttentionMask.Causal })
        {
            double one = Measure<float>(length, 128, Heads, mask, bits, 1);
            if (cores > 1)
            {
                double two = Measure<float>(length, 128, Heads, mask, bits, cores);
                Line($"| | | | {mask} | | 1 to {cores} | {one / two:F2}x | | | |");
            }
        }
        Measure<BFloat16>(length, 128, Heads, AttentionMask.Causal, bits, cores);
        Measure<Half>(length, 128, Heads, AttentionMask.Causal, bits, cores);
        Measure<float>(length, 128, 1, AttentionMask.Causal, bits, cores);
        Measure<float>(length, 64, Heads, AttentionMask.Causal, bits, cores);
        if (bits == 512)
            Measure<float>(length, 128, Heads, AttentionMask.Causal, 256, cores);
        if (s_passedPeak)
            Console.Error.WriteLine("A case passes the peak: the measurement is wrong.");
        return s_passedPeak ? 1 : 0;
    }

    private static double Measure<T>(int length, int dim, int keyHeads, AttentionMask mask, int bits, int workers)
        where T : unmanaged
    {
        using var dense = new DenseCase<T>(workers, mask, length, dim, Heads, keyHeads);
        KernelWidth.Force(bits);
        dense.Run();
        double peak = Peak.Measure();
        double best = double.PositiveInfinity;
        for (int i = 0; i < Repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            dense.Run();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        peak = Math.Max(peak, Peak.Measure()) * workers;
        KernelWidth.Force(0);
        double rate = dense.Operations / best;
        s_passedPeak |= rate > peak;
        Line($"| {typeof(T).Name} | {dim} | {keyHeads} | {mask} | {bits} | {workers} | {best * 1e3:F1} | {rate / 1e9:F1} | {peak / 1e9:F1} | {rate / peak:P1} |");
        return best;
    }

    private static void Line(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    private static string ProcessorName()
    {
        const string File = "/proc/cpuinfo";
        if (System.IO.File.Exists(File))
        {
            foreach (string line in System.IO.File.ReadLines(File))
            {
                if (line.StartsWith("model name", StringComparison.Ordinal))
                    return line[(line.IndexOf(':') + 1)..].Trim();
            }
        }
        return RuntimeInformation.ProcessArchitecture.ToString();
    }
}
