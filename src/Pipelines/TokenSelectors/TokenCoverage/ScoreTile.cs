using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>Vector code of the token scorer over one tile of keys: packing, the product of queries and keys, column sums.</summary>
internal static unsafe class ScoreTile
{
    /// <summary>Keys of a tile.</summary>
    public const int Keys = 192;

    /// <summary>log2(e).</summary>
    public const float Log2E = 1.44269504f;

    private const int MaxHeadDim = 256;

    // A block of the product: Rows queries times PanelWidth keys, all accumulators in registers.
    private static int Rows => Vector512.IsHardwareAccelerated ? 8 : 4;

    private static int PanelWidth => Vector512.IsHardwareAccelerated ? 48 : 24;

    /// <summary>Rows that the product computes for a number of queries.</summary>
    public static int RowsPadded(int rows) => (rows + 7) / 8 * 8;

    /// <summary>Stores a scaled query, or zeroes where there is none, at its place in [blocks][dim][Rows].</summary>
    [SkipLocalsInit]
    public static void PackQuery<T>(ReadOnlySpan<T> source, float scale, int row, int dim, float* packed)
        where T : unmanaged
    {
        Span<float> values = stackalloc float[MaxHeadDim];
        if (source.IsEmpty)
            values.Clear();
        else
            ElementConvert.ToFloat(source, values);
        float* destination = packed + (long)(row / Rows) * Rows * dim + row % Rows;
        for (int d = 0; d < dim; d++)
            destination[d * Rows] = values[d] * scale;
    }

    /// <summary>Stores the keys of a tile as [panels][dim][PanelWidth], zeroes after the last one.</summary>
    [SkipLocalsInit]
    public static void PackKeys<T>(in CpuInputs<T> problem, int batch, int head, int firstKey, int keys, float* packed)
        where T : unmanaged
    {
        int dim = problem.Shape.HeadDim;
        Span<float> values = stackalloc float[MaxHeadDim];
        int padded = (keys + PanelWidth - 1) / PanelWidth * PanelWidth;
        for (int key = 0; key < padded; key++)
        {
            if (key < keys)
                ElementConvert.ToFloat<T>(problem.Key.Row(batch, head, firstKey + key), values);
            else if (key == keys)
                values.Clear();
            float* destination = packed + (long)(key / PanelWidth) * PanelWidth * dim + key % PanelWidth;
            for (int d = 0; d < dim; d++)
                destination[d * PanelWidth] = values[d];
        }
    }

    /// <summary>scores [rows, Keys] = packed queries times packed keys; each score is summed along dim in order.</summary>
    public static void Multiply(float* queries, float* keys, int rows, int keyCount, int dim, float* scores)
    {
        for (int key = 0; key < keyCount; key += PanelWidth)
        {
            float* panel = keys + (long)key * dim;
            for (int row = 0; row < rows; row += Rows)
            {
                float* block = queries + (long)row * dim;
                float* result = scores + (long)row * Keys + key;
                if (Vector512.IsHardwareAccelerated)
                    Multiply8x48(block, panel, dim, result);
                else
                    Multiply4x24(block, panel, dim, result);
            }
        }
    }

    /// <summary>
    /// Replaces the scores of a row by 2^(score - n) for a whole n near their maximum, and returns n: -inf, and exponentials
    /// of 0, where every key is masked; NaN where the maximum is +inf or NaN.
    /// </summary>
    /// <param name="scores">Scores; some may be -inf.</param>
    /// <param name="natural">Whether they are in natural units rather than in powers of two.</param>
    /// <param name="sum">Sum of the exponentials.</param>
    public static float Exponentiate(Span<float> scores, bool natural, out float sum)
    {
        if (natural)
            TensorPrimitives.Multiply(scores, Log2E, scores);
        float exponent = scores.IsEmpty ? float.NegativeInfinity : MathF.Ceiling(TensorPrimitives.Max<float>(scores));
        if (!float.IsFinite(exponent))
        {
            bool masked = float.IsNegativeInfinity(exponent);
            sum = masked ? 0 : float.NaN;
            scores.Fill(sum);
            return masked ? exponent : float.NaN;
        }
        Vector256<float> sums = default;
        Vector256<float> unit = Vector256.Create(exponent);
        ref float first = ref MemoryMarshal.GetReference(scores);
        int t = 0;
        for (; t <= scores.Length - Vector256<float>.Count; t += Vector256<float>.Count)
        {
            Vector256<float> value = PowerOfTwo(Vector256.LoadUnsafe(ref first, (nuint)t), unit);
            value.StoreUnsafe(ref first, (nuint)t);
            sums += value;
        }
        if (t < scores.Length)
        {
            Span<float> rest = stackalloc float[Vector256<float>.Count];
            rest.Fill(float.NegativeInfinity);
            scores[t..].CopyTo(rest);
            Vector256<float> value = PowerOfTwo(Vector256.Create<float>(rest), unit);
            value.CopyTo(rest);
            rest[..(scores.Length - t)].CopyTo(scores[t..]);
            sums += value;
        }
        sum = Vector256.Sum(sums);
        return exponent;
    }

    /// <summary>2^(x - unit) for a whole unit not below x; the rounding is that of 2^x, whatever the unit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> PowerOfTwo(Vector256<float> x, Vector256<float> unit)
    {
        x = Vector256.Max(x, Vector256.Create(float.MinValue)); // -inf has no fraction
        Vector256<float> whole = Vector256.Round(x);
        Vector256<float> f = x - whole;
        // The series of 2^f up to f^7, coefficients ln(2)^k / k!; |f| <= 1/2 leaves a relative error of 6e-9.
        Vector256<float> p = Vector256.Create(1.52527338e-5f);
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(1.54035304e-4f));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(1.33335581e-3f));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(9.61812911e-3f));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(5.55041087e-2f));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(2.40226507e-1f));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(6.93147181e-1f));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256<float>.One);
        Vector256<float> power = Vector256.Max(whole - unit, Vector256.Create(-127f)); // 2^-127 is encoded as 0
        return p * ((Vector256.ConvertToInt32Native(power) + Vector256.Create(127)) << 23).AsSingle();
    }

    /// <summary>sums[t] = sum over rows of factors[row] * values[row, t], for all Keys columns.</summary>
    public static void SumColumns(float* values, float* factors, int rows, float* sums)
    {
        for (int t = 0; t < Keys; t += 32)
        {
            Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default;
            float* column = values + t;
            for (int row = 0; row < rows; row++, column += Keys)
            {
                Vector256<float> factor = Vector256.Create(factors[row]);
                s0 = Vector256.FusedMultiplyAdd(Vector256.Load(column), factor, s0);
                s1 = Vector256.FusedMultiplyAdd(Vector256.Load(column + 8), factor, s1);
                s2 = Vector256.FusedMultiplyAdd(Vector256.Load(column + 16), factor, s2);
                s3 = Vector256.FusedMultiplyAdd(Vector256.Load(column + 24), factor, s3);
            }
            s0.Store(sums + t);
            s1.Store(sums + t + 8);
            s2.Store(sums + t + 16);
            s3.Store(sums + t + 24);
        }
    }

    private static void Multiply8x48(float* queries, float* keys, int dim, float* result)
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, b0 = default, b1 = default, b2 = default;
        Vector512<float> c0 = default, c1 = default, c2 = default, d0 = default, d1 = default, d2 = default;
        Vector512<float> e0 = default, e1 = default, e2 = default, f0 = default, f1 = default, f2 = default;
        Vector512<float> g0 = default, g1 = default, g2 = default, h0 = default, h1 = default, h2 = default;
        for (int d = 0; d < dim; d++, queries += 8, keys += 48)
        {
            Vector512<float> k0 = Vector512.Load(keys), k1 = Vector512.Load(keys + 16), k2 = Vector512.Load(keys + 32);
            Step(Vector512.Create(queries[0]), k0, k1, k2, ref a0, ref a1, ref a2);
            Step(Vector512.Create(queries[1]), k0, k1, k2, ref b0, ref b1, ref b2);
            Step(Vector512.Create(queries[2]), k0, k1, k2, ref c0, ref c1, ref c2);
            Step(Vector512.Create(queries[3]), k0, k1, k2, ref d0, ref d1, ref d2);
            Step(Vector512.Create(queries[4]), k0, k1, k2, ref e0, ref e1, ref e2);
            Step(Vector512.Create(queries[5]), k0, k1, k2, ref f0, ref f1, ref f2);
            Step(Vector512.Create(queries[6]), k0, k1, k2, ref g0, ref g1, ref g2);
            Step(Vector512.Create(queries[7]), k0, k1, k2, ref h0, ref h1, ref h2);
        }
        Store(result, a0, a1, a2);
        Store(result + Keys, b0, b1, b2);
        Store(result + 2 * Keys, c0, c1, c2);
        Store(result + 3 * Keys, d0, d1, d2);
        Store(result + 4 * Keys, e0, e1, e2);
        Store(result + 5 * Keys, f0, f1, f2);
        Store(result + 6 * Keys, g0, g1, g2);
        Store(result + 7 * Keys, h0, h1, h2);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Step(Vector512<float> q, Vector512<float> k0, Vector512<float> k1, Vector512<float> k2,
            ref Vector512<float> s0, ref Vector512<float> s1, ref Vector512<float> s2)
        {
            s0 = Vector512.FusedMultiplyAdd(q, k0, s0);
            s1 = Vector512.FusedMultiplyAdd(q, k1, s1);
            s2 = Vector512.FusedMultiplyAdd(q, k2, s2);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Store(float* to, Vector512<float> s0, Vector512<float> s1, Vector512<float> s2)
        {
            s0.Store(to);
            s1.Store(to + 16);
            s2.Store(to + 32);
        }
    }

    private static void Multiply4x24(float* queries, float* keys, int dim, float* result)
    {
        Vector256<float> a0 = default, a1 = default, a2 = default, b0 = default, b1 = default, b2 = default;
        Vector256<float> c0 = default, c1 = default, c2 = default, d0 = default, d1 = default, d2 = default;
        for (int d = 0; d < dim; d++, queries += 4, keys += 24)
        {
            Vector256<float> k0 = Vector256.Load(keys), k1 = Vector256.Load(keys + 8), k2 = Vector256.Load(keys + 16);
            Step(Vector256.Create(queries[0]), k0, k1, k2, ref a0, ref a1, ref a2);
            Step(Vector256.Create(queries[1]), k0, k1, k2, ref b0, ref b1, ref b2);
            Step(Vector256.Create(queries[2]), k0, k1, k2, ref c0, ref c1, ref c2);
            Step(Vector256.Create(queries[3]), k0, k1, k2, ref d0, ref d1, ref d2);
        }
        Store(result, a0, a1, a2);
        Store(result + Keys, b0, b1, b2);
        Store(result + 2 * Keys, c0, c1, c2);
        Store(result + 3 * Keys, d0, d1, d2);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Step(Vector256<float> q, Vector256<float> k0, Vector256<float> k1, Vector256<float> k2,
            ref Vector256<float> s0, ref Vector256<float> s1, ref Vector256<float> s2)
        {
            s0 = Vector256.FusedMultiplyAdd(q, k0, s0);
            s1 = Vector256.FusedMultiplyAdd(q, k1, s1);
            s2 = Vector256.FusedMultiplyAdd(q, k2, s2);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Store(float* to, Vector256<float> s0, Vector256<float> s1, Vector256<float> s2)
        {
            s0.Store(to);
            s1.Store(to + 8);
            s2.Store(to + 16);
        }
    }
}
