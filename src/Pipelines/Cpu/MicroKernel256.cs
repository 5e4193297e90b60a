using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AttnCompose.Pipelines.Cpu;

/// <summary>
/// 256-bit vectors: 6 rows by 2 vectors, which is 12 accumulators of 16 registers; two more hold a row of the panel, one a
/// broadcast. A step of a product loads 8 times for 12 multiply-adds, so two load ports keep two multipliers busy.
/// </summary>
internal readonly struct MicroKernel256 : IMicroKernel
{
    /// <inheritdoc/>
    public static int Rows => 6;

    /// <inheritdoc/>
    public static int Columns => 16;

    /// <inheritdoc/>
    public static int Lanes => 8;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Scores(float* block, float* panel, int dim, float* scores)
    {
        Vector256<float> a0 = default, b0 = default;
        Vector256<float> a1 = default, b1 = default;
        Vector256<float> a2 = default, b2 = default;
        Vector256<float> a3 = default, b3 = default;
        Vector256<float> a4 = default, b4 = default;
        Vector256<float> a5 = default, b5 = default;
        for (float* end = block + (nint)dim * 6; block < end; block += 6, panel += 16)
        {
            Vector256<float> x = Vector256.LoadAligned(panel);
            Vector256<float> y = Vector256.LoadAligned(panel + 8);
            Vector256<float> q = Vector256.Create(block[0]);
            a0 = Vector256.FusedMultiplyAdd(q, x, a0);
            b0 = Vector256.FusedMultiplyAdd(q, y, b0);
            q = Vector256.Create(block[1]);
            a1 = Vector256.FusedMultiplyAdd(q, x, a1);
            b1 = Vector256.FusedMultiplyAdd(q, y, b1);
            q = Vector256.Create(block[2]);
            a2 = Vector256.FusedMultiplyAdd(q, x, a2);
            b2 = Vector256.FusedMultiplyAdd(q, y, b2);
            q = Vector256.Create(block[3]);
            a3 = Vector256.FusedMultiplyAdd(q, x, a3);
            b3 = Vector256.FusedMultiplyAdd(q, y, b3);
            q = Vector256.Create(block[4]);
            a4 = Vector256.FusedMultiplyAdd(q, x, a4);
            b4 = Vector256.FusedMultiplyAdd(q, y, b4);
            q = Vector256.Create(block[5]);
            a5 = Vector256.FusedMultiplyAdd(q, x, a5);
            b5 = Vector256.FusedMultiplyAdd(q, y, b5);
        }
        a0.StoreAligned(scores);
        b0.StoreAligned(scores + 8);
        a1.StoreAligned(scores + Stride);
        b1.StoreAligned(scores + Stride + 8);
        a2.StoreAligned(scores + 2 * Stride);
        b2.StoreAligned(scores + 2 * Stride + 8);
        a3.StoreAligned(scores + 3 * Stride);
        b3.StoreAligned(scores + 3 * Stride + 8);
        a4.StoreAligned(scores + 4 * Stride);
        b4.StoreAligned(scores + 4 * Stride + 8);
        a5.StoreAligned(scores + 5 * Stride);
        b5.StoreAligned(scores + 5 * Stride + 8);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Accumulate(
        float* weights, float* panel, int count, float* factors, float* output, nint outputStride)
    {
        float* row = output;
        Vector256<float> p = Vector256.Create(factors[0]);
        Vector256<float> a0 = p * Vector256.LoadAligned(row), b0 = p * Vector256.LoadAligned(row + 8);
        row += outputStride;
        p = Vector256.Create(factors[1]);
        Vector256<float> a1 = p * Vector256.LoadAligned(row), b1 = p * Vector256.LoadAligned(row + 8);
        row += outputStride;
        p = Vector256.Create(factors[2]);
        Vector256<float> a2 = p * Vector256.LoadAligned(row), b2 = p * Vector256.LoadAligned(row + 8);
        row += outputStride;
        p = Vector256.Create(factors[3]);
        Vector256<float> a3 = p * Vector256.LoadAligned(row), b3 = p * Vector256.LoadAligned(row + 8);
        row += outputStride;
        p = Vector256.Create(factors[4]);
        Vector256<float> a4 = p * Vector256.LoadAligned(row), b4 = p * Vector256.LoadAligned(row + 8);
        row += outputStride;
        p = Vector256.Create(factors[5]);
        Vector256<float> a5 = p * Vector256.LoadAligned(row), b5 = p * Vector256.LoadAligned(row + 8);
        for (float* end = weights + count; weights < end; weights++, panel += 16)
        {
            Vector256<float> x = Vector256.LoadAligned(panel);
            Vector256<float> y = Vector256.LoadAligned(panel + 8);
            p = Vector256.Create(weights[0]);
            a0 = Vector256.FusedMultiplyAdd(p, x, a0);
            b0 = Vector256.FusedMultiplyAdd(p, y, b0);
            p = Vector256.Create(weights[Stride]);
            a1 = Vector256.FusedMultiplyAdd(p, x, a1);
            b1 = Vector256.FusedMultiplyAdd(p, y, b1);
            p = Vector256.Create(weights[2 * Stride]);
            a2 = Vector256.FusedMultiplyAdd(p, x, a2);
            b2 = Vector256.FusedMultiplyAdd(p, y, b2);
            p = Vector256.Create(weights[3 * Stride]);
            a3 = Vector256.FusedMultiplyAdd(p, x, a3);
            b3 = Vector256.FusedMultiplyAdd(p, y, b3);
            p = Vector256.Create(weights[4 * Stride]);
            a4 = Vector256.FusedMultiplyAdd(p, x, a4);
            b4 = Vector256.FusedMultiplyAdd(p, y, b4);
            p = Vector256.Create(weights[5 * Stride]);
            a5 = Vector256.FusedMultiplyAdd(p, x, a5);
            b5 = Vector256.FusedMultiplyAdd(p, y, b5);
        }
        a0.StoreAligned(output);
        b0.StoreAligned(output + 8);
        output += outputStride;
        a1.StoreAligned(output);
        b1.StoreAligned(output + 8);
        output += outputStride;
        a2.StoreAligned(output);
        b2.StoreAligned(output + 8);
        output += outputStride;
        a3.StoreAligned(output);
        b3.StoreAligned(output + 8);
        output += outputStride;
        a4.StoreAligned(output);
        b4.StoreAligned(output + 8);
        output += outputStride;
        a5.StoreAligned(output);
        b5.StoreAligned(output + 8);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void AccumulateHalf(
        float* weights, float* panel, int count, float* factors, float* output, nint outputStride)
    {
        float* row = output;
        Vector256<float> p = Vector256.Create(factors[0]);
        Vector256<float> a0 = p * Vector256.LoadAligned(row);
        row += outputStride;
        p = Vector256.Create(factors[1]);
        Vector256<float> a1 = p * Vector256.LoadAligned(row);
        row += outputStride;
        p = Vector256.Create(factors[2]);
        Vector256<float> a2 = p * Vector256.LoadAligned(row);
        row += outputStride;
        p = Vector256.Create(factors[3]);
        Vector256<float> a3 = p * Vector256.LoadAligned(row);
        row += outputStride;
        p = Vector256.Create(factors[4]);
        Vector256<float> a4 = p * Vector256.LoadAligned(row);
        row += outputStride;
        p = Vector256.Create(factors[5]);
        Vector256<float> a5 = p * Vector256.LoadAligned(row);
        for (float* end = weights + count; weights < end; weights++, panel += 8)
        {
            Vector256<float> x = Vector256.LoadAligned(panel);
            a0 = Vector256.FusedMultiplyAdd(Vector256.Create(weights[0]), x, a0);
            a1 = Vector256.FusedMultiplyAdd(Vector256.Create(weights[Stride]), x, a1);
            a2 = Vector256.FusedMultiplyAdd(Vector256.Create(weights[2 * Stride]), x, a2);
            a3 = Vector256.FusedMultiplyAdd(Vector256.Create(weights[3 * Stride]), x, a3);
            a4 = Vector256.FusedMultiplyAdd(Vector256.Create(weights[4 * Stride]), x, a4);
            a5 = Vector256.FusedMultiplyAdd(Vector256.Create(weights[5 * Stride]), x, a5);
        }
        a0.StoreAligned(output);
        output += outputStride;
        a1.StoreAligned(output);
        output += outputStride;
        a2.StoreAligned(output);
        output += outputStride;
        a3.StoreAligned(output);
        output += outputStride;
        a4.StoreAligned(output);
        output += outputStride;
        a5.StoreAligned(output);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Softmax(
        float* scores, int limit, int visible, int step, float* maxima, float* sums, float* factors)
    {
        int padded = (limit + 7) & -8;
        Vector256<float> old = Vector256.LoadAligned(maxima);
        for (int r = 0; r < 6; r++)
        {
            float* row = scores + r * Stride;
            int count = Math.Clamp(visible + r * step, 0, limit);
            if (count < padded)
                Mask(row, count, padded);
            Vector256<float> largest = Vector256.LoadAligned(row), other = largest; // two, as one would wait for itself
            int j = 8;
            for (; j < padded - 8; j += 2 * 8)
            {
                largest = Vector256.MaxNative(Vector256.LoadAligned(row + j), largest);
                other = Vector256.MaxNative(Vector256.LoadAligned(row + j + 8), other);
            }
            if (j < padded)
                largest = Vector256.MaxNative(Vector256.LoadAligned(row + j), largest);
            maxima[r] = Math.Max(maxima[r], Largest(Vector256.MaxNative(largest, other)));
        }

        // A row that has seen nothing but -inf keeps that maximum; 0 in its place keeps -inf - -inf out of the exponent.
        Vector256<float> maximum = Vector256.LoadAligned(maxima);
        Vector256<float> unseen = Vector256.Equals(maximum, Vector256.Create(float.NegativeInfinity));
        maximum = Vector256.AndNot(maximum, unseen);
        Vector256<float> factor = VectorExp.Exp2(old - maximum);
        factor.StoreAligned(factors);
        (Vector256.LoadAligned(sums) * factor).StoreAligned(sums);

        for (int r = 0; r < 6; r++)
        {
            float* row = scores + r * Stride;
            Vector256<float> shift = Vector256.Create(maxima[r] == float.NegativeInfinity ? 0 : maxima[r]);
            Vector256<float> sum = default;
            for (int j = 0; j < padded; j += 8)
            {
                Vector256<float> weight = VectorExp.Exp2(Vector256.LoadAligned(row + j) - shift);
                weight.StoreAligned(row + j);
                sum += weight;
            }
            sums[r] += Sum(sum);
        }
    }

    /// <inheritdoc/>
    public static unsafe void Exp2(float* values) => VectorExp.Exp2(Vector256.Load(values)).Store(values);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Multiply(float* values, int count, float factor)
    {
        int i = 0;
        for (; i <= count - 8; i += 8)
            (Vector256.Load(values + i) * factor).Store(values + i);
        for (; i < count; i++)
            values[i] *= factor;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Divide(float* values, int count, float divisor, float* result)
    {
        Vector256<float> by = Vector256.Create(divisor);
        for (int i = 0; i < count; i += 8)
            (Vector256.Load(values + i) / by).Store(result + i);
    }

    private const int Stride = IMicroKernel.TileKeys;

    private static unsafe void Mask(float* row, int begin, int end)
    {
        for (int j = begin; j < end; j++)
            row[j] = float.NegativeInfinity;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Largest(Vector256<float> v)
    {
        Vector128<float> four = Vector128.MaxNative(v.GetLower(), v.GetUpper());
        Vector128<float> two = Vector128.MaxNative(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(two, Vector128.Shuffle(two, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Sum(Vector256<float> v) => Vector128.Sum(v.GetLower() + v.GetUpper());
}
