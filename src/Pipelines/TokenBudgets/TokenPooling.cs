using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// Average pool along the prefix and mean over heads, in the order of operations that
/// <see cref="RecentQueriesSelectorAttribute"/> and <see cref="RankedBudgetAttribute"/> promise. Lanes never mix, so any vector width gives the same bits.
/// </summary>
internal static unsafe class TokenPooling
{
    private const int Tile = 2048; // tokens a work item; with its margins it stays in the first-level cache

    /// <summary>Pools raw scores [heads, prefix] into pooled [heads, prefix] and their mean [prefix].</summary>
    public static void Pool(
        float* raw, float* pooled, float* mean, int heads, int prefix, int width, bool toBFloat16, CpuWorkers workers)
    {
        var work = new TileWork
        {
            Raw = raw, Pooled = pooled, Mean = mean, Heads = heads, Prefix = prefix, Width = width, ToBFloat16 = toBFloat16,
        };
        workers.Run(ref work, (prefix + Tile - 1) / Tile);
    }

    /// <summary>Puts the scores of heads that rank together in the place of theirs, and makes the mean anew.</summary>
    /// <param name="pooled">[heads, prefix].</param>
    /// <param name="mean">[prefix].</param>
    /// <param name="heads">Query heads.</param>
    /// <param name="group">Query heads of a key/value head.</param>
    /// <param name="prefix">Tokens.</param>
    /// <param name="scope">Which heads rank together, and by what of their scores; not each on its own.</param>
    /// <param name="workers">Workers.</param>
    public static void Join(float* pooled, float* mean, int heads, int group, int prefix, HeadScope scope, CpuWorkers workers)
    {
        var work = new JoinWork
        {
            Pooled = pooled, Mean = mean, Heads = heads, Prefix = prefix, Scope = scope,
            Unit = scope == HeadScope.Layer ? heads : group,
        };
        workers.Run(ref work, (prefix + Tile - 1) / Tile);
    }

    /// <summary>
    /// Scores tokens that a head has not kept -inf, a NaN among the others the lowest finite number, and makes the mean anew, where
    /// -inf counts 0.
    /// </summary>
    public static void LeaveCandidates(
        float* pooled, float* mean, int heads, int prefix, int batch, TokenSelection selection, CpuWorkers workers)
    {
        for (int head = 0; head < heads; head++)
        {
            var scores = new Span<float>(pooled + (long)head * prefix, prefix);
            int next = 0;
            foreach (int position in selection.Positions(batch, head))
            {
                if (position >= prefix)
                    break;
                scores[next..position].Fill(float.NegativeInfinity);
                if (!(scores[position] > float.MinValue))
                    scores[position] = float.MinValue;
                next = position + 1;
            }
            scores[next..].Fill(float.NegativeInfinity);
        }
        var work = new MeanWork { Pooled = pooled, Mean = mean, Heads = heads, Prefix = prefix, LeavesOut = true };
        workers.Run(ref work, (prefix + Tile - 1) / Tile);
    }

    private struct JoinWork : ICpuWork
    {
        public required float* Pooled;
        public required float* Mean;
        public required int Heads;
        public required int Unit;
        public required int Prefix;
        public required HeadScope Scope;

        public readonly void Execute(int item, int worker)
        {
            int begin = item * Tile, count = Math.Min(Tile, Prefix - begin);
            for (int first = 0; first < Heads; first += Unit)
            {
                float* together = Pooled + (long)first * Prefix + begin;
                if (Scope == HeadScope.KeyValueHeadMax)
                    Largest(together, count);
                // A sum from +0 begins with the first score, which is never -0.
                for (int head = 1; head < Unit && Scope != HeadScope.KeyValueHeadMax; head++)
                    Add(together + (long)head * Prefix, together, count);
                if (Scope is HeadScope.KeyValueHeadMean or HeadScope.Layer)
                    Divide(together, count, Unit);
                Canonical(together, together, count, toBFloat16: false);
                for (int head = 1; head < Unit; head++)
                    new ReadOnlySpan<float>(together, count).CopyTo(new Span<float>(together + (long)head * Prefix, count));
            }
            new MeanWork { Pooled = Pooled, Mean = Mean, Heads = Heads, Prefix = Prefix, LeavesOut = false }.Execute(item, worker);
        }

        // From +0; NaN is passed over.
        private readonly void Largest(float* together, int count)
        {
            for (int t = 0; t < count; t++)
            {
                float largest = 0;
                for (int head = 0; head < Unit; head++)
                {
                    float score = together[(long)head * Prefix + t];
                    largest = score > largest ? score : largest;
                }
                together[t] = largest;
            }
        }
    }

    /// <summary>The mean of a tile over the heads in order; -inf counts 0 where it stands for a token left out.</summary>
    private struct MeanWork : ICpuWork
    {
        public required float* Pooled;
        public required float* Mean;
        public required int Heads;
        public required int Prefix;
        public required bool LeavesOut;

        public readonly void Execute(int item, int worker)
        {
            int begin = item * Tile, count = Math.Min(Tile, Prefix - begin);
            float* mean = Mean + begin;
            new Span<float>(mean, count).Clear();
            for (int head = 0; head < Heads; head++)
            {
                float* scores = Pooled + (long)head * Prefix + begin;
                for (int t = 0; t < count; t++)
                    mean[t] += LeavesOut && float.IsNegativeInfinity(scores[t]) ? 0 : scores[t];
            }
            Divide(mean, count, Heads);
            Canonical(mean, mean, count, toBFloat16: false);
        }
    }

    /// <summary>A tile of tokens, all heads, as the device does it.</summary>
    private struct TileWork : ICpuWork
    {
        public required float* Raw;
        public required float* Pooled;
        public required float* Mean;
        public required int Heads;
        public required int Prefix;
        public required int Width;
        public required bool ToBFloat16;

        [SkipLocalsInit]
        public readonly void Execute(int item, int worker)
        {
            const int Margin = 64; // at least Width / 2 before, and Width / 2 and a vector after
            float* padded = stackalloc float[Tile + 2 * Margin];
            int begin = item * Tile;
            int count = Math.Min(Tile, Prefix - begin);
            int half = Width / 2;
            float* mean = Mean + begin;
            new Span<float>(mean, count).Clear();
            for (int head = 0; head < Heads; head++)
            {
                float* raw = Raw + (long)head * Prefix;
                float* pooled = Pooled + (long)head * Prefix + begin;
                // Zeroes outside the prefix add nothing: a running sum that began at +0 is never -0.
                new Span<float>(padded, Tile + 2 * Margin).Clear();
                int first = Math.Max(0, begin - half), end = Math.Min(Prefix, begin + count + half);
                float* origin = padded + Margin - begin;
                Canonical(raw + first, origin + first, end - first, ToBFloat16);
                Average(padded + Margin - half, pooled, count, Width, Width);
                Canonical(pooled, pooled, count, ToBFloat16);
                Add(pooled, mean, count);
            }
            Divide(mean, count, Heads);
            Canonical(mean, mean, count, toBFloat16: false);
        }
    }

    /// <summary>destination[t] = (source[t] + ... + source[t + terms - 1]) / divisor, left to right from +0.</summary>
    private static void Average(float* source, float* destination, int count, int terms, float divisor)
    {
        int t = 0;
        Vector256<float> by = Vector256.Create(divisor);
        for (; t <= count - Vector256<float>.Count; t += Vector256<float>.Count)
        {
            Vector256<float> sum = Vector256<float>.Zero;
            for (int j = 0; j < terms; j++)
                sum += Vector256.Load(source + t + j);
            (sum / by).Store(destination + t);
        }
        for (; t < count; t++)
        {
            float sum = 0;
            for (int j = 0; j < terms; j++)
                sum += source[t + j];
            destination[t] = sum / divisor;
        }
    }

    private static void Add(float* values, float* sums, int count)
    {
        int t = 0;
        for (; t <= count - Vector256<float>.Count; t += Vector256<float>.Count)
            (Vector256.Load(sums + t) + Vector256.Load(values + t)).Store(sums + t);
        for (; t < count; t++)
            sums[t] += values[t];
    }

    private static void Divide(float* values, int count, float divisor)
    {
        int t = 0;
        Vector256<float> by = Vector256.Create(divisor);
        for (; t <= count - Vector256<float>.Count; t += Vector256<float>.Count)
            (Vector256.Load(values + t) / by).Store(values + t);
        for (; t < count; t++)
            values[t] /= divisor;
    }

    /// <summary>Replaces subnormals and -0 by +0 and then, if asked, rounds to bfloat16. In place too.</summary>
    private static void Canonical(float* source, float* destination, int count, bool toBFloat16)
    {
        int t = 0;
        for (; t <= count - Vector256<float>.Count; t += Vector256<float>.Count)
        {
            Vector256<uint> bits = Vector256.Load((uint*)source + t);
            Vector256<uint> magnitude = bits & Vector256.Create(0x7FFF_FFFFu);
            bits &= Vector256.GreaterThanOrEqual(magnitude.AsInt32(), Vector256.Create(0x0080_0000)).AsUInt32();
            if (toBFloat16)
            {
                Vector256<uint> odd = (bits >> 16) & Vector256<uint>.One;
                Vector256<uint> rounded = bits + Vector256.Create(0x7FFFu) + odd;
                Vector256<uint> isNaN = Vector256.GreaterThan(magnitude.AsInt32(), Vector256.Create(0x7F80_0000)).AsUInt32();
                bits = Vector256.ConditionalSelect(isNaN, bits | Vector256.Create(0x0040_0000u), rounded)
                    & Vector256.Create(0xFFFF_0000u);
            }
            bits.Store((uint*)destination + t);
        }
        for (; t < count; t++)
        {
            float value = MathF.Abs(source[t]) < 1.17549435e-38f ? 0 : source[t];
            destination[t] = toBFloat16 ? (float)(BFloat16)value : value;
        }
    }
}
