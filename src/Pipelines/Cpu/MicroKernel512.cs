using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AttnCompose.Pipelines.Cpu;

/// <summary>
/// 512-bit vectors: 12 rows by 2 vectors, which is 24 accumulators of 32 registers; two more hold a row of the panel, one a
/// broadcast. A step of a product loads 14 times for 24 multiply-adds, so two load ports keep two multipliers busy.
/// </summary>
internal readonly struct MicroKernel512 : IMicroKernel
{
    /// <inheritdoc/>
    public static int Rows => 12;

    /// <inheritdoc/>
    public static int Columns => 32;

    /// <inheritdoc/>
    public static int Lanes => 16;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Scores(float* block, float* panel, int dim, float* scores)
    {
        Vector512<float> a0 = default, b0 = default;
        Vector512<float> a1 = default, b1 = default;
        Vector512<float> a2 = default, b2 = default;
        Vector512<float> a3 = default, b3 = default;
        Vector512<float> a4 = default, b4 = default;
        Vector512<float> a5 = default, b5 = default;
        Vector512<float> a6 = default, b6 = default;
        Vector512<float> a7 = default, b7 = default;
        Vector512<float> a8 = default, b8 = default;
        Vector512<float> a9 = default, b9 = default;
        Vector512<float> a10 = default, b10 = default;
        Vector512<float> a11 = default, b11 = default;
        for (float* end = block + (nint)dim * 12; block < end; block += 12, panel += 32)
        {
            Vector512<float> x = Vector512.LoadAligned(panel);
            Vector512<float> y = Vector512.LoadAligned(panel + 16);
            Vector512<float> q = Vector512.Create(block[0]);
            a0 = Vector512.FusedMultiplyAdd(q, x, a0);
            b0 = Vector512.FusedMultiplyAdd(q, y, b0);
            q = Vector512.Create(block[1]);
            a1 = Vector512.FusedMultiplyAdd(q, x, a1);
            b1 = Vector512.FusedMultiplyAdd(q, y, b1);
            q = Vector512.Create(block[2]);
            a2 = Vector512.FusedMultiplyAdd(q, x, a2);
            b2 = Vector512.FusedMultiplyAdd(q, y, b2);
            q = Vector512.Create(block[3]);
            a3 = Vector512.FusedMultiplyAdd(q, x, a3);
            b3 = Vector512.FusedMultiplyAdd(q, y, b3);
            q = Vector512.Create(block[4]);
            a4 = Vector512.FusedMultiplyAdd(q, x, a4);
            b4 = Vector512.FusedMultiplyAdd(q, y, b4);
            q = Vector512.Create(block[5]);
            a5 = Vector512.FusedMultiplyAdd(q, x, a5);
            b5 = Vector512.FusedMultiplyAdd(q, y, b5);
            q = Vector512.Create(block[6]);
            a6 = Vector512.FusedMultiplyAdd(q, x, a6);
            b6 = Vector512.FusedMultiplyAdd(q, y, b6);
            q = Vector512.Create(block[7]);
            a7 = Vector512.FusedMultiplyAdd(q, x, a7);
            b7 = Vector512.FusedMultiplyAdd(q, y, b7);
            q = Vector512.Create(block[8]);
            a8 = Vector512.FusedMultiplyAdd(q, x, a8);
            b8 = Vector512.FusedMultiplyAdd(q, y, b8);
            q = Vector512.Create(block[9]);
            a9 = Vector512.FusedMultiplyAdd(q, x, a9);
            b9 = Vector512.FusedMultiplyAdd(q, y, b9);
            q = Vector512.Create(block[10]);
            a10 = Vector512.FusedMultiplyAdd(q, x, a10);
            b10 = Vector512.FusedMultiplyAdd(q, y, b10);
            q = Vector512.Create(block[11]);
            a11 = Vector512.FusedMultiplyAdd(q, x, a11);
            b11 = Vector512.FusedMultiplyAdd(q, y, b11);
        }
        a0.StoreAligned(scores);
        b0.StoreAligned(scores + 16);
        a1.StoreAligned(scores + Stride);
        b1.StoreAligned(scores + Stride + 16);
        a2.StoreAligned(scores + 2 * Stride);
        b2.StoreAligned(scores + 2 * Stride + 16);
        a3.StoreAligned(scores + 3 * Stride);
        b3.StoreAligned(scores + 3 * Stride + 16);
        a4.StoreAligned(scores + 4 * Stride);
        b4.StoreAligned(scores + 4 * Stride + 16);
        a5.StoreAligned(scores + 5 * Stride);
        b5.StoreAligned(scores + 5 * Stride + 16);
        a6.StoreAligned(scores + 6 * Stride);
        b6.StoreAligned(scores + 6 * Stride + 16);
        a7.StoreAligned(scores + 7 * Stride);
        b7.StoreAligned(scores + 7 * Stride + 16);
        a8.StoreAligned(scores + 8 * Stride);
        b8.StoreAligned(scores + 8 * Stride + 16);
        a9.StoreAligned(scores + 9 * Stride);
        b9.StoreAligned(scores + 9 * Stride + 16);
        a10.StoreAligned(scores + 10 * Stride);
        b10.StoreAligned(scores + 10 * Stride + 16);
        a11.StoreAligned(scores + 11 * Stride);
        b11.StoreAligned(scores + 11 * Stride + 16);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Accumulate(
        float* weights, float* panel, int count, float* factors, float* output, nint outputStride)
    {
        float* row = output;
        Vector512<float> p = Vector512.Create(factors[0]);
        Vector512<float> a0 = p * Vector512.LoadAligned(row), b0 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[1]);
        Vector512<float> a1 = p * Vector512.LoadAligned(row), b1 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[2]);
        Vector512<float> a2 = p * Vector512.LoadAligned(row), b2 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[3]);
        Vector512<float> a3 = p * Vector512.LoadAligned(row), b3 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[4]);
        Vector512<float> a4 = p * Vector512.LoadAligned(row), b4 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[5]);
        Vector512<float> a5 = p * Vector512.LoadAligned(row), b5 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[6]);
        Vector512<float> a6 = p * Vector512.LoadAligned(row), b6 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[7]);
        Vector512<float> a7 = p * Vector512.LoadAligned(row), b7 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[8]);
        Vector512<float> a8 = p * Vector512.LoadAligned(row), b8 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[9]);
        Vector512<float> a9 = p * Vector512.LoadAligned(row), b9 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[10]);
        Vector512<float> a10 = p * Vector512.LoadAligned(row), b10 = p * Vector512.LoadAligned(row + 16);
        row += outputStride;
        p = Vector512.Create(factors[11]);
        Vector512<float> a11 = p * Vector512.LoadAligned(row), b11 = p * Vector512.LoadAligned(row + 16);
        for (float* end = weights + count; weights < end; weights++, panel += 32)
        {
            Vector512<float> x = Vector512.LoadAligned(panel);
            Vector512<float> y = Vector512.LoadAligned(panel + 16);
            p = Vector512.Create(weights[0]);
            a0 = Vector512.FusedMultiplyAdd(p, x, a0);
            b0 = Vector512.FusedMultiplyAdd(p, y, b0);
            p = Vector512.Create(weights[Stride]);
            a1 = Vector512.FusedMultiplyAdd(p, x, a1);
            b1 = Vector512.FusedMultiplyAdd(p, y, b1);
            p = Vector512.Create(weights[2 * Stride]);
            a2 = Vector512.FusedMultiplyAdd(p, x, a2);
            b2 = Vector512.FusedMultiplyAdd(p, y, b2);
            p = Vector512.Create(weights[3 * Stride]);
            a3 = Vector512.FusedMultiplyAdd(p, x, a3);
            b3 = Vector512.FusedMultiplyAdd(p, y, b3);
            p = Vector512.Create(weights[4 * Stride]);
            a4 = Vector512.FusedMultiplyAdd(p, x, a4);
            b4 = Vector512.FusedMultiplyAdd(p, y, b4);
            p = Vector512.Create(weights[5 * Stride]);
            a5 = Vector512.FusedMultiplyAdd(p, x, a5);
            b5 = Vector512.FusedMultiplyAdd(p, y, b5);
            p = Vector512.Create(weights[6 * Stride]);
            a6 = Vector512.FusedMultiplyAdd(p, x, a6);
            b6 = Vector512.FusedMultiplyAdd(p, y, b6);
            p = Vector512.Create(weights[7 * Stride]);
            a7 = Vector512.FusedMultiplyAdd(p, x, a7);
            b7 = Vector512.FusedMultiplyAdd(p, y, b7);
            p = Vector512.Create(weights[8 * Stride]);
            a8 = Vector512.FusedMultiplyAdd(p, x, a8);
            b8 = Vector512.FusedMultiplyAdd(p, y, b8);
            p = Vector512.Create(weights[9 * Stride]);
            a9 = Vector512.FusedMultiplyAdd(p, x, a9);
            b9 = Vector512.FusedMultiplyAdd(p, y, b9);
            p = Vector512.Create(weights[10 * Stride]);
            a10 = Vector512.FusedMultiplyAdd(p, x, a10);
            b10 = Vector512.FusedMultiplyAdd(p, y, b10);
            p = Vector512.Create(weights[11 * Stride]);
            a11 = Vector512.FusedMultiplyAdd(p, x, a11);
            b11 = Vector512.FusedMultiplyAdd(p, y, b11);
        }
        a0.StoreAligned(output);
        b0.StoreAligned(output + 16);
        output += outputStride;
        a1.StoreAligned(output);
        b1.StoreAligned(output + 16);
        output += outputStride;
        a2.StoreAligned(output);
        b2.StoreAligned(output + 16);
        output += outputStride;
        a3.StoreAligned(output);
        b3.StoreAligned(output + 16);
        output += outputStride;
        a4.StoreAligned(output);
        b4.StoreAligned(output + 16);
        output += outputStride;
        a5.StoreAligned(output);
        b5.StoreAligned(output + 16);
        output += outputStride;
        a6.StoreAligned(output);
        b6.StoreAligned(output + 16);
        output += outputStride;
        a7.StoreAligned(output);
        b7.StoreAligned(output + 16);
        output += outputStride;
        a8.StoreAligned(output);
        b8.StoreAligned(output + 16);
        output += outputStride;
        a9.StoreAligned(output);
        b9.StoreAligned(output + 16);
        output += outputStride;
        a10.StoreAligned(output);
        b10.StoreAligned(output + 16);
        output += outputStride;
        a11.StoreAligned(output);
        b11.StoreAligned(output + 16);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void AccumulateHalf(
        float* weights, float* panel, int count, float* factors, float* output, nint outputStride)
    {
        float* row = output;
        Vector512<float> p = Vector512.Create(factors[0]);
        Vector512<float> a0 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[1]);
        Vector512<float> a1 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[2]);
        Vector512<float> a2 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[3]);
        Vector512<float> a3 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[4]);
        Vector512<float> a4 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[5]);
        Vector512<float> a5 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[6]);
        Vector512<float> a6 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[7]);
        Vector512<float> a7 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[8]);
        Vector512<float> a8 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[9]);
        Vector512<float> a9 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[10]);
        Vector512<float> a10 = p * Vector512.LoadAligned(row);
        row += outputStride;
        p = Vector512.Create(factors[11]);
        Vector512<float> a11 = p * Vector512.LoadAligned(row);
        for (float* end = weights + count; weights < end; weights++, panel += 16)
        {
            Vector512<float> x = Vector512.LoadAligned(panel);
            a0 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[0]), x, a0);
            a1 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[Stride]), x, a1);
            a2 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[2 * Stride]), x, a2);
            a3 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[3 * Stride]), x, a3);
            a4 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[4 * Stride]), x, a4);
            a5 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[5 * Stride]), x, a5);
            a6 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[6 * Stride]), x, a6);
            a7 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[7 * Stride]), x, a7);
            a8 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[8 * Stride]), x, a8);
            a9 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[9 * Stride]), x, a9);
            a10 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[10 * Stride]), x, a10);
            a11 = Vector512.FusedMultiplyAdd(Vector512.Create(weights[11 * Stride]), x, a11);
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
        output += outputStride;
        a6.StoreAligned(output);
        output += outputStride;
        a7.StoreAligned(output);
        output += outputStride;
        a8.StoreAligned(output);
        output += outputStride;
        a9.StoreAligned(output);
        output += outputStride;
        a10.StoreAligned(output);
        output += outputStride;
        a11.StoreAligned(output);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Softmax(
        float* scores, int limit, int visible, int step, float* maxima, float* sums, float* factors)
    {
        int padded = (limit + 15) & -16;
        Vector512<float> old = Vector512.LoadAligned(maxima);
        for (int r = 0; r < 12; r++)
        {
            float* row = scores + r * Stride;
            int count = Math.Clamp(visible + r * step, 0, limit);
            if (count < padded)
                Mask(row, count, padded);
            Vector512<float> largest = Vector512.LoadAligned(row), other = largest; // two, as one would wait for itself
            int j = 16;
            for (; j < padded - 16; j += 2 * 16)
            {
                largest = Vector512.MaxNative(Vector512.LoadAligned(row + j), largest);
                other = Vector512.MaxNative(Vector512.LoadAligned(row + j + 16), other);
            }
            if (j < padded)
                largest = Vector512.MaxNative(Vector512.LoadAligned(row + j), largest);
            maxima[r] = Math.Max(maxima[r], Largest(Vector512.MaxNative(largest, other)));
        }

        // A row that has seen nothing but -inf keeps that maximum; 0 in its place keeps -inf - -inf out of the exponent.
        Vector512<float> maximum = Vector512.LoadAligned(maxima);
        Vector512<float> unseen = Vector512.Equals(maximum, Vector512.Create(float.NegativeInfinity));
        maximum = Vector512.AndNot(maximum, unseen);
        Vector512<float> factor = VectorExp.Exp2(old - maximum);
        factor.StoreAligned(factors);
        (Vector512.LoadAligned(sums) * factor).StoreAligned(sums);

        for (int r = 0; r < 12; r++)
        {
            float* row = scores + r * Stride;
            Vector512<float> shift = Vector512.Create(maxima[r] == float.NegativeInfinity ? 0 : maxima[r]);
            Vector512<float> sum = default;
            for (int j = 0; j < padded; j += 16)
            {
                Vector512<float> weight = VectorExp.Exp2(Vector512.LoadAligned(row + j) - shift);
                weight.StoreAligned(row + j);
                sum += weight;
            }
            sums[r] += Sum(sum);
        }
    }

    /// <inheritdoc/>
    public static unsafe void Exp2(float* values) => VectorExp.Exp2(Vector512.Load(values)).Store(values);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Multiply(float* values, int count, float factor)
    {
        int i = 0;
        for (; i <= count - 16; i += 16)
            (Vector512.Load(values + i) * factor).Store(values + i);
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
    private static float Largest(Vector512<float> v) => MicroKernel256.Largest(Vector256.MaxNative(v.GetLower(), v.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sum(Vector512<float> v) => MicroKernel256.Sum(v.GetLower() + v.GetUpper());
}
