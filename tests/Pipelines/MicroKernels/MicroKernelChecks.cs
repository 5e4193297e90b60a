using System.Runtime.InteropServices;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines.Tests.MicroKernels;

/// <summary>The checks of one width.</summary>
internal static unsafe class MicroKernelChecks<TKernel>
    where TKernel : struct, IMicroKernel
{
    private const int Stride = IMicroKernel.TileKeys;

    public static void Sizes_fit_each_other()
    {
        Assert.Equal(2 * TKernel.Lanes, TKernel.Columns);
        Assert.InRange(TKernel.Rows, 1, TKernel.Lanes);
        Assert.Equal(0, IMicroKernel.TileKeys % TKernel.Columns);
        Assert.Equal(0, IMicroKernel.TileQueries % TKernel.Rows);
    }

    public static void Scores_are_products_of_rows(int dim)
    {
        using var block = new Floats(TKernel.Rows * dim, seed: 1);
        using var panel = new Floats(TKernel.Columns * dim, seed: 2);
        using var scores = new Floats(TKernel.Rows * Stride, seed: 3);
        float[] before = scores.ToArray();
        TKernel.Scores(block.Data, panel.Data, dim, scores.Data);
        for (int r = 0; r < TKernel.Rows; r++)
        {
            for (int j = 0; j < Stride; j++)
            {
                double expected = 0;
                for (int i = 0; i < dim; i++)
                    expected += (double)block[i * TKernel.Rows + r] * panel[i * TKernel.Columns + (j % TKernel.Columns)];
                if (j < TKernel.Columns)
                    Assert.Equal(expected, scores[r * Stride + j], 2e-5);
                else
                    Assert.Equal(before[r * Stride + j], scores[r * Stride + j]);
            }
        }
    }

    public static void Values_are_summed_by_weight_onto_what_was_there(bool half, int count)
    {
        int columns = half ? TKernel.Lanes : TKernel.Columns;
        int stride = columns + TKernel.Lanes;
        using var weights = new Floats(TKernel.Rows * Stride, seed: 1);
        using var panel = new Floats(count * columns, seed: 2);
        using var factors = new Floats(TKernel.Lanes, seed: 3);
        using var output = new Floats(TKernel.Rows * stride, seed: 4);
        float[] before = output.ToArray();
        if (half)
            TKernel.AccumulateHalf(weights.Data, panel.Data, count, factors.Data, output.Data, stride);
        else
            TKernel.Accumulate(weights.Data, panel.Data, count, factors.Data, output.Data, stride);
        for (int r = 0; r < TKernel.Rows; r++)
        {
            for (int c = 0; c < stride; c++)
            {
                double expected = before[r * stride + c];
                if (c < columns)
                {
                    expected *= factors[r];
                    for (int j = 0; j < count; j++)
                        expected += (double)weights[r * Stride + j] * panel[j * columns + c];
                }
                Assert.Equal(expected, output[r * stride + c], 2e-5);
            }
        }
    }

    public static void Softmax_step_brings_maximum_and_sum_up_to_date(int limit, int visible, int step)
    {
        using var scores = new Floats(TKernel.Rows * Stride, seed: 1);
        using var maxima = new Floats(TKernel.Lanes, seed: 2);
        using var sums = new Floats(TKernel.Lanes, seed: 3);
        using var factors = new Floats(TKernel.Lanes, seed: 4);
        maxima.Data[0] = float.NegativeInfinity;
        sums.Data[0] = 0;
        scores.Data[Stride] = 100;
        float[] before = scores.ToArray(), oldMaxima = maxima.ToArray(), oldSums = sums.ToArray();
        TKernel.Softmax(scores.Data, limit, visible, step, maxima.Data, sums.Data, factors.Data);

        int padded = (limit + TKernel.Lanes - 1) / TKernel.Lanes * TKernel.Lanes;
        for (int r = 0; r < TKernel.Rows; r++)
        {
            int count = Math.Clamp(visible + r * step, 0, limit);
            float maximum = oldMaxima[r];
            for (int j = 0; j < count; j++)
                maximum = Math.Max(maximum, before[r * Stride + j]);
            Assert.Equal(maximum, maxima[r]);
            double factor = float.IsNegativeInfinity(maximum) ? 0 : Math.Pow(2, (double)oldMaxima[r] - maximum);
            Assert.Equal(factor, factors[r], 2e-7);
            double sum = oldSums[r] * factor;
            for (int j = 0; j < padded; j++)
            {
                double weight = j < count ? Math.Pow(2, (double)before[r * Stride + j] - maximum) : 0;
                Assert.Equal(weight, scores[r * Stride + j], 2e-7);
                sum += weight;
            }
            Assert.Equal(sum, sums[r], 2e-6 * (1 + sum));
        }
    }

    public static void Exp2_is_within_an_ulp()
    {
        using var values = new Floats(TKernel.Lanes, seed: 1);
        var random = new Random(7);
        double worst = 0;
        for (int round = 0; round < 20_000; round++)
        {
            var x = new float[TKernel.Lanes];
            for (int i = 0; i < x.Length; i++)
            {
                double size = Math.Pow(10, random.Next(-6, 3)) * 0.25;
                values.Data[i] = x[i] = (float)((random.NextDouble() - 0.5) * size) - (round % 2 * 60);
            }
            TKernel.Exp2(values.Data);
            for (int i = 0; i < x.Length; i++)
            {
                double expected = Math.Pow(2, x[i]);
                double ulp = MathF.BitIncrement((float)expected) - (float)expected;
                worst = Math.Max(worst, Math.Abs(values[i] - expected) / ulp);
            }
        }
        Assert.InRange(worst, 0, 1);
    }

    public static void Exp2_of_special_values(float x, float expected)
    {
        using var values = new Floats(TKernel.Lanes, seed: 1);
        for (int i = 0; i < TKernel.Lanes; i++)
            values.Data[i] = x;
        TKernel.Exp2(values.Data);
        Assert.All(values.ToArray(), value => Assert.Equal(expected, value));
    }

    public static void Multiply_and_divide_touch_what_they_are_given()
    {
        using var values = new Floats(48, seed: 1);
        using var result = new Floats(48, seed: 2);
        float[] before = values.ToArray(), beforeResult = result.ToArray();
        TKernel.Multiply(values.Data + 1, 45, 3);
        TKernel.Divide(values.Data, 40, 7, result.Data);
        for (int i = 0; i < 48; i++)
        {
            Assert.Equal(i is >= 1 and < 46 ? before[i] * 3 : before[i], values[i]);
            Assert.Equal(i < 40 ? values[i] / 7 : beforeResult[i], result[i]);
        }
    }
}

/// <summary>Aligned memory filled with seeded values in [-1, 1].</summary>
internal sealed unsafe class Floats : IDisposable
{
    public Floats(int count, int seed)
    {
        Count = count;
        Data = (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 64);
        var random = new Random(seed);
        for (int i = 0; i < count; i++)
            Data[i] = random.NextSingle() * 2 - 1;
    }

    public int Count { get; }

    public float* Data { get; }

    public float this[int index] => Data[index];

    public float[] ToArray() => new ReadOnlySpan<float>(Data, Count).ToArray();

    public void Dispose() => NativeMemory.AlignedFree(Data);
}
