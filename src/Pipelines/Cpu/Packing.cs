using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Cpu;

/// <summary>Brings rows of any element type and stride into the layouts that <see cref="IMicroKernel"/> reads.</summary>
/// <typeparam name="TKernel">The micro-kernel.</typeparam>
internal static unsafe class Packing<TKernel>
    where TKernel : struct, IMicroKernel
{
    /// <summary>Floats of the conversion buffer that a worker hands to the methods here, for a head dim.</summary>
    public static int BufferLength(int dim) => Math.Max(TKernel.Rows, TKernel.Columns) * dim;

    /// <summary>Width of an output row and of a packed value row: the head dim rounded up to whole vectors.</summary>
    public static int ValueWidth(int dim) => (dim + TKernel.Lanes - 1) / TKernel.Lanes * TKernel.Lanes;

    /// <summary>Key panels of a number of keys.</summary>
    public static int Panels(int keys) => (keys + TKernel.Columns - 1) / TKernel.Columns;

    /// <summary>
    /// Packs one query block, scaled. Query r of the block is original row <c>rows.Position(first + r) - firstQuery</c> of
    /// the view. Rows from <paramref name="count"/> on are 0.
    /// </summary>
    public static void QueryBlock<T>(
        in TensorView<T> view, int batch, int head, in RowSet rows, int first, int count, int firstQuery, float scale,
        float* buffer, float* block)
        where T : unmanaged
    {
        int dim = view.Dim;
        count = Math.Min(count, TKernel.Rows);
        for (int r = 0; r < count; r++)
        {
            float* row = buffer + r * dim;
            ElementConvert.ToFloat<T>(view.Row(batch, head, rows.Position(first + r) - firstQuery), new Span<float>(row, dim));
            TKernel.Multiply(row, dim, scale);
        }
        Transpose(buffer, count, dim, TKernel.Rows, block);
    }

    /// <summary>
    /// Packs one key panel: keys <c>rows.Position(first)</c> and following. Keys from <paramref name="count"/> on are 0.
    /// </summary>
    public static void KeyPanel<T>(
        in TensorView<T> view, int batch, int head, in RowSet rows, int first, int count, float* buffer, float* panel)
        where T : unmanaged
    {
        int dim = view.Dim;
        count = Math.Min(count, TKernel.Columns);
        for (int r = 0; r < count; r++)
            ElementConvert.ToFloat<T>(view.Row(batch, head, rows.Position(first + r)), new Span<float>(buffer + r * dim, dim));
        Transpose(buffer, count, dim, TKernel.Columns, panel);
    }

    /// <summary>
    /// Packs the values of one key tile, panel after panel: panel p holds columns from p * <see cref="IMicroKernel.Columns"/>
    /// and begins at float p * Columns * TileKeys. Columns beyond the head dim are 0; rows beyond
    /// <paramref name="count"/> are left as they are.
    /// </summary>
    public static void ValueTile<T>(
        in TensorView<T> view, int batch, int head, in RowSet rows, int first, int count, float* buffer, float* tile)
        where T : unmanaged
    {
        int dim = view.Dim;
        int padded = ValueWidth(dim);
        new Span<float>(buffer + dim, padded - dim).Clear();
        for (int j = 0; j < count; j++)
        {
            ElementConvert.ToFloat<T>(view.Row(batch, head, rows.Position(first + j)), new Span<float>(buffer, dim));
            for (int column = 0; column < padded; column += TKernel.Columns)
            {
                int width = Math.Min(TKernel.Columns, padded - column);
                float* to = tile + (nint)column * IMicroKernel.TileKeys + j * width;
                Unsafe.CopyBlock(to, buffer + column, (uint)(width * sizeof(float)));
            }
        }
    }

    // target[i * width + r] = rows[r * dim + i]; 0 for r from count on.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(float* rows, int count, int dim, int width, float* target)
    {
        int r = 0;
        if (Avx.IsSupported)
        {
            for (; r + 8 <= count; r += 8)
            {
                for (int i = 0; i < dim; i += 8)
                    Transpose8(rows + r * dim + i, dim, target + i * width + r, width);
            }
        }
        for (; r < count; r++)
        {
            float* row = rows + r * dim;
            float* to = target + r;
            for (int i = 0; i < dim; i++)
                to[i * width] = row[i];
        }
        if (r < width)
        {
            for (int i = 0; i < dim; i++)
                new Span<float>(target + i * width + r, width - r).Clear();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose8(float* from, nint fromStride, float* to, nint toStride)
    {
        Vector256<float> r0 = Avx.LoadVector256(from), r1 = Avx.LoadVector256(from + fromStride);
        Vector256<float> r2 = Avx.LoadVector256(from + 2 * fromStride), r3 = Avx.LoadVector256(from + 3 * fromStride);
        from += 4 * fromStride;
        Vector256<float> r4 = Avx.LoadVector256(from), r5 = Avx.LoadVector256(from + fromStride);
        Vector256<float> r6 = Avx.LoadVector256(from + 2 * fromStride), r7 = Avx.LoadVector256(from + 3 * fromStride);
        Four(r0, r1, r2, r3, out Vector256<float> a0, out Vector256<float> a1, out Vector256<float> a2, out Vector256<float> a3);
        Four(r4, r5, r6, r7, out Vector256<float> b0, out Vector256<float> b1, out Vector256<float> b2, out Vector256<float> b3);
        Avx.Store(to, Avx.Permute2x128(a0, b0, 0x20));
        Avx.Store(to + toStride, Avx.Permute2x128(a1, b1, 0x20));
        Avx.Store(to + 2 * toStride, Avx.Permute2x128(a2, b2, 0x20));
        Avx.Store(to + 3 * toStride, Avx.Permute2x128(a3, b3, 0x20));
        to += 4 * toStride;
        Avx.Store(to, Avx.Permute2x128(a0, b0, 0x31));
        Avx.Store(to + toStride, Avx.Permute2x128(a1, b1, 0x31));
        Avx.Store(to + 2 * toStride, Avx.Permute2x128(a2, b2, 0x31));
        Avx.Store(to + 3 * toStride, Avx.Permute2x128(a3, b3, 0x31));

        // Within each 128-bit half: column k of the four rows.
        static void Four(
            Vector256<float> w, Vector256<float> x, Vector256<float> y, Vector256<float> z,
            out Vector256<float> c0, out Vector256<float> c1, out Vector256<float> c2, out Vector256<float> c3)
        {
            Vector256<float> low = Avx.UnpackLow(w, x), high = Avx.UnpackHigh(w, x);
            Vector256<float> low2 = Avx.UnpackLow(y, z), high2 = Avx.UnpackHigh(y, z);
            c0 = Avx.Shuffle(low, low2, 0x44);
            c1 = Avx.Shuffle(low, low2, 0xEE);
            c2 = Avx.Shuffle(high, high2, 0x44);
            c3 = Avx.Shuffle(high, high2, 0xEE);
        }
    }
}
