using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// What the token scorer does with rows of scores: exponentials whose units can change exactly, and column sums.
/// </summary>
internal static unsafe class ScoreRows
{
    /// <summary>log2(e).</summary>
    public const float Log2E = 1.44269504f;

    private const int Stride = IMicroKernel.TileKeys;

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

    /// <summary>2^(exponent - largest), what exponentials in units of 2^exponent count for; 0 far below float32's range.</summary>
    public static double Power(float exponent, float largest) =>
        float.IsNegativeInfinity(exponent) ? 0
        : float.IsNaN(exponent - largest) ? double.NaN
        : Math.ScaleB(1, (int)Math.Max(exponent - largest, -500));

    /// <summary>sums[t] = sum over rows of factors[row] * values[row, t], for all columns of a tile.</summary>
    public static void SumColumns(float* values, float* factors, int rows, float* sums)
    {
        for (int t = 0; t < Stride; t += 32)
        {
            Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default;
            float* column = values + t;
            for (int row = 0; row < rows; row++, column += Stride)
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
}
