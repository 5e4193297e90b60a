using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AttnCompose.Cli.Bench;

/// <summary>Measures the processor's peak of single-precision multiply-adds with the vectors that the kernels use.</summary>
internal static class CpuPeak
{
    private const int Accumulators = 12;

    /// <summary>
    /// Floating-point operations a second of one thread: the best of five tries, each the best of twenty short loops, so that
    /// a busy machine is unlikely to interrupt all of them.
    /// </summary>
    public static double Measure()
    {
        const int Rounds = 500_000;
        long best = long.MaxValue;
        float sink = Loop(Rounds);
        for (int i = 0; i < 5 * 20; i++)
        {
            long start = Stopwatch.GetTimestamp();
            sink += Loop(Rounds);
            best = Math.Min(best, Stopwatch.GetTimestamp() - start);
        }
        GC.KeepAlive(sink);
        int lanes = Vector512.IsHardwareAccelerated ? 16 : 8;
        return 2.0 * lanes * Accumulators * Rounds / (best / (double)Stopwatch.Frequency);
    }

    /// <summary>The same of so many threads at once, where cores share units, caches and power: their sum.</summary>
    public static double MeasureTogether(int threads)
    {
        const int Rounds = 20_000_000;
        var rates = new double[threads];
        using var start = new Barrier(threads);
        Thread[] all = [.. Enumerable.Range(0, threads).Select(thread => new Thread(() =>
        {
            float sink = Loop(Rounds / 100);
            start.SignalAndWait();
            long begin = Stopwatch.GetTimestamp();
            sink += Loop(Rounds);
            double seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
            GC.KeepAlive(sink);
            rates[thread] = 2.0 * (Vector512.IsHardwareAccelerated ? 16 : 8) * Accumulators * Rounds / seconds;
        }))];
        Array.ForEach(all, thread => thread.Start());
        Array.ForEach(all, thread => thread.Join());
        return rates.Sum();
    }

    private static float Loop(int rounds) => Vector512.IsHardwareAccelerated ? Loop512(rounds) : Loop256(rounds);

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Loop512(int rounds)
    {
        Vector512<float> x = Vector512.Create(0.999f), y = Vector512.Create(0.001f);
        Vector512<float> a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
        for (int n = 0; n < rounds; n++)
        {
            a = Vector512.FusedMultiplyAdd(a, x, y);
            b = Vector512.FusedMultiplyAdd(b, x, y);
            c = Vector512.FusedMultiplyAdd(c, x, y);
            d = Vector512.FusedMultiplyAdd(d, x, y);
            e = Vector512.FusedMultiplyAdd(e, x, y);
            f = Vector512.FusedMultiplyAdd(f, x, y);
            g = Vector512.FusedMultiplyAdd(g, x, y);
            h = Vector512.FusedMultiplyAdd(h, x, y);
            i = Vector512.FusedMultiplyAdd(i, x, y);
            j = Vector512.FusedMultiplyAdd(j, x, y);
            k = Vector512.FusedMultiplyAdd(k, x, y);
            l = Vector512.FusedMultiplyAdd(l, x, y);
        }
        return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Loop256(int rounds)
    {
        Vector256<float> x = Vector256.Create(0.999f), y = Vector256.Create(0.001f);
        Vector256<float> a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
        for (int n = 0; n < rounds; n++)
        {
            a = Vector256.FusedMultiplyAdd(a, x, y);
            b = Vector256.FusedMultiplyAdd(b, x, y);
            c = Vector256.FusedMultiplyAdd(c, x, y);
            d = Vector256.FusedMultiplyAdd(d, x, y);
            e = Vector256.FusedMultiplyAdd(e, x, y);
            f = Vector256.FusedMultiplyAdd(f, x, y);
            g = Vector256.FusedMultiplyAdd(g, x, y);
            h = Vector256.FusedMultiplyAdd(h, x, y);
            i = Vector256.FusedMultiplyAdd(i, x, y);
            j = Vector256.FusedMultiplyAdd(j, x, y);
            k = Vector256.FusedMultiplyAdd(k, x, y);
            l = Vector256.FusedMultiplyAdd(l, x, y);
        }
        return Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }
}
