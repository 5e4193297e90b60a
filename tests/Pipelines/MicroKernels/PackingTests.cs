using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;
using AttnCompose.Pipelines.Tests.FlashAttention;

namespace AttnCompose.Pipelines.Tests.MicroKernels;

/// <summary>Packed layouts, element by element, from a strided half-precision view with chosen rows.</summary>
public class PackingTests
{
    public static TheoryData<int, int> Sizes => new() { { 8, 1 }, { 24, 7 }, { 40, 13 }, { 64, 32 }, { 72, 50 }, { 256, 33 } };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Rows_come_to_their_places(int dim, int count)
    {
        Check<MicroKernel256>(dim, count);
        if (FlashAttentionTests.Widths.Contains(512))
            Check<MicroKernel512>(dim, count);
    }

    private static void Check<TKernel>(int dim, int count)
        where TKernel : struct, IMicroKernel
    {
        const int Length = 70;
        using CpuDevice device = AttentionDevice.Cpu(1);
        using var runner = new CpuPipelineRunner(device, "packing", AttentionMask.Full, 0, ElementType.Any);
        var random = new Random(dim);
        var data = new Half[2 * Length * dim]; // [length, heads, dim]
        for (int i = 0; i < data.Length; i++)
            data[i] = (Half)random.NextSingle();
        runner.Run(new PackingCheck<TKernel>(count), new AttentionArguments<Half, float>
        {
            Query = AttentionTensor.FromBlhd<Half>((ReadOnlySpan<Half>)data, 1, Length, 2, dim),
            Key = AttentionTensor.FromBlhd<Half>((ReadOnlySpan<Half>)data, 1, Length, 2, dim),
            Value = AttentionTensor.FromBlhd<Half>((ReadOnlySpan<Half>)data, 1, Length, 2, dim),
            Output = AttentionTensor.FromBlhd(new float[data.Length].AsSpan(), 1, Length, 2, dim),
        });
    }

    private sealed unsafe class PackingCheck<TKernel>(int count) : ICpuPipeline
        where TKernel : struct, IMicroKernel
    {
        public void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
            where T : unmanaged
            where TOut : unmanaged
        {
            TensorView<T> view = problem.Inputs.Key;
            int dim = view.Dim;
            // Compressed row i is original row i + i / 3 + 1; the packing begins at compressed row 1.
            int[] positions = [.. Enumerable.Range(0, 52).Select(i => i + i / 3 + 1)];
            var rows = new RowSet(positions, 0);
            using var buffer = new Floats(Packing<TKernel>.BufferLength(dim) + 16, seed: 1);
            float At(in TensorView<T> from, int row, int i)
            {
                Span<float> one = stackalloc float[1];
                ElementConvert.ToFloat<T>(from.Row(0, 1, row).Slice(i, 1), one);
                return one[0];
            }

            using var panel = new Floats(TKernel.Columns * dim, seed: 2);
            Packing<TKernel>.KeyPanel(in view, 0, 1, in rows, 1, count, buffer.Data, panel.Data);
            for (int i = 0; i < dim; i++)
            {
                for (int j = 0; j < TKernel.Columns; j++)
                    Assert.Equal(j < count ? At(in view, positions[1 + j], i) : 0, panel[i * TKernel.Columns + j]);
            }

            using var block = new Floats(TKernel.Rows * dim, seed: 3);
            Packing<TKernel>.QueryBlock(in view, 0, 1, in rows, 1, count, 2, 0.5f, buffer.Data, block.Data);
            for (int i = 0; i < dim; i++)
            {
                for (int r = 0; r < TKernel.Rows; r++)
                    Assert.Equal(r < count ? At(in view, positions[1 + r] - 2, i) / 2 : 0, block[i * TKernel.Rows + r]);
            }

            int padded = Packing<TKernel>.ValueWidth(dim);
            using var tile = new Floats(IMicroKernel.TileKeys * padded, seed: 4);
            Packing<TKernel>.ValueTile(in view, 0, 1, in rows, 1, count, buffer.Data, tile.Data);
            for (int column = 0; column < padded; column++)
            {
                int first = column / TKernel.Columns * TKernel.Columns;
                int width = Math.Min(TKernel.Columns, padded - first);
                for (int j = 0; j < count; j++)
                {
                    float expected = column < dim ? At(in view, positions[1 + j], column) : 0;
                    Assert.Equal(expected, tile[first * IMicroKernel.TileKeys + j * width + column - first]);
                }
            }
        }
    }
}
