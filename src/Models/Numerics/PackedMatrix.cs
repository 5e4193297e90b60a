using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AttnCompose.Models;

/// <summary>
/// A weight matrix [outputs, inputs] laid out for multiplication: panels of as many outputs as a micro-kernel computes at
/// once, inputs slowest inside a panel, the last panel padded with zeros.
/// </summary>
/// <remarks>
/// Every element of a product is one chain of fused multiply-adds in the order of the inputs, whichever micro-kernel computes
/// it. So a row's result depends on nothing but that row: prefill in chunks and row by row give the same bits.
/// </remarks>
internal sealed unsafe class PackedMatrix : IDisposable
{
    private const int RowsAtOnce = 4;
    private const int InputBlock = 128; // a panel's share of this many inputs, 32 KB at most, stays in the first-level cache

    private readonly FloatBuffer _panels;
    private readonly int _panelWidth;

    /// <summary>Packs a row-major matrix.</summary>
    /// <param name="outputs">Rows of the weight matrix.</param>
    /// <param name="inputs">Columns of the weight matrix.</param>
    /// <param name="fillRow">Writes row n of the weight matrix.</param>
    /// <param name="vectorBits">Width of the micro-kernel's vectors: 512 or 256; 0 for the widest that the machine has.</param>
    public PackedMatrix(int outputs, int inputs, FillRow fillRow, int vectorBits = 0)
    {
        (Outputs, Inputs) = (outputs, inputs);
        if (vectorBits == 0)
            vectorBits = Vector512.IsHardwareAccelerated ? 512 : 256;
        _panelWidth = vectorBits == 512 ? 4 * Vector512<float>.Count : 3 * Vector256<float>.Count;
        _panels = new FloatBuffer((long)(outputs + _panelWidth - 1) / _panelWidth * _panelWidth * inputs);
        var row = new float[inputs];
        for (int n = 0; n < outputs; n++)
        {
            fillRow(n, row);
            float* panel = Panel(n / _panelWidth) + n % _panelWidth;
            for (int k = 0; k < inputs; k++)
                panel[(long)k * _panelWidth] = row[k];
        }
    }

    public delegate void FillRow(int row, Span<float> destination);

    public int Outputs { get; }

    public int Inputs { get; }

    /// <summary>y = x W^T, or y += x W^T, for <paramref name="rows"/> rows; on the calling thread.</summary>
    /// <param name="x">[rows, inputs], rows <paramref name="xStride"/> apart.</param>
    /// <param name="xStride">Elements from one row of x to the next.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="y">[rows, outputs], rows <paramref name="yStride"/> apart.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="accumulate">Whether to add to y.</param>
    public void Multiply(float* x, long xStride, int rows, float* y, long yStride, bool accumulate)
    {
        int panels = (Outputs + _panelWidth - 1) / _panelWidth;
        float* edge = stackalloc float[RowsAtOnce * _panelWidth];
        for (int p = 0; p < panels; p++)
        {
            int first = p * _panelWidth;
            int width = Math.Min(_panelWidth, Outputs - first);
            for (int k = 0; k < Inputs; k += InputBlock)
            {
                int depth = Math.Min(InputBlock, Inputs - k);
                bool add = accumulate || k > 0;
                float* panel = Panel(p) + (long)k * _panelWidth;
                int r = 0;
                for (int count; r < rows; r += count)
                {
                    count = rows - r >= RowsAtOnce ? RowsAtOnce : 1;
                    float* from = x + r * xStride + k;
                    float* to = y + r * yStride + first;
                    if (width == _panelWidth)
                    {
                        Tile(from, xStride, panel, depth, to, yStride, count, add);
                        continue;
                    }
                    for (int i = 0; i < count && add; i++)
                        new Span<float>(to + i * yStride, width).CopyTo(new Span<float>(edge + i * _panelWidth, width));
                    Tile(from, xStride, panel, depth, edge, _panelWidth, count, add);
                    for (int i = 0; i < count; i++)
                        new Span<float>(edge + i * _panelWidth, width).CopyTo(new Span<float>(to + i * yStride, width));
                }
            }
        }
    }

    public void Dispose() => _panels.Dispose();

    private float* Panel(int index) => _panels.Data + (long)index * _panelWidth * Inputs;

    private void Tile(float* x, long xStride, float* panel, int depth, float* y, long yStride, int rows, bool add)
    {
        if (_panelWidth == 4 * Vector512<float>.Count)
        {
            if (rows == RowsAtOnce)
                Tile4x512(x, xStride, panel, depth, y, yStride, add);
            else
                Tile1x512(x, panel, depth, y, add);
        }
        else if (rows == RowsAtOnce)
        {
            Tile4x256(x, xStride, panel, depth, y, yStride, add);
        }
        else
        {
            Tile1x256(x, panel, depth, y, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4x512(float* x, long xStride, float* panel, int depth, float* y, long yStride, bool add)
    {
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
        float* y1 = y + yStride, y2 = y1 + yStride, y3 = y2 + yStride;
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
        Vector512<float> b0 = default, b1 = default, b2 = default, b3 = default;
        Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default;
        Vector512<float> d0 = default, d1 = default, d2 = default, d3 = default;
        if (add)
        {
            a0 = Vector512.Load(y); a1 = Vector512.Load(y + 16); a2 = Vector512.Load(y + 32); a3 = Vector512.Load(y + 48);
            b0 = Vector512.Load(y1); b1 = Vector512.Load(y1 + 16); b2 = Vector512.Load(y1 + 32); b3 = Vector512.Load(y1 + 48);
            c0 = Vector512.Load(y2); c1 = Vector512.Load(y2 + 16); c2 = Vector512.Load(y2 + 32); c3 = Vector512.Load(y2 + 48);
            d0 = Vector512.Load(y3); d1 = Vector512.Load(y3 + 16); d2 = Vector512.Load(y3 + 32); d3 = Vector512.Load(y3 + 48);
        }
        for (int k = 0; k < depth; k++, panel += 64)
        {
            Vector512<float> w0 = Vector512.Load(panel), w1 = Vector512.Load(panel + 16);
            Vector512<float> w2 = Vector512.Load(panel + 32), w3 = Vector512.Load(panel + 48);
            var v = Vector512.Create(x[k]);
            a0 = Vector512.FusedMultiplyAdd(v, w0, a0); a1 = Vector512.FusedMultiplyAdd(v, w1, a1);
            a2 = Vector512.FusedMultiplyAdd(v, w2, a2); a3 = Vector512.FusedMultiplyAdd(v, w3, a3);
            v = Vector512.Create(x1[k]);
            b0 = Vector512.FusedMultiplyAdd(v, w0, b0); b1 = Vector512.FusedMultiplyAdd(v, w1, b1);
            b2 = Vector512.FusedMultiplyAdd(v, w2, b2); b3 = Vector512.FusedMultiplyAdd(v, w3, b3);
            v = Vector512.Create(x2[k]);
            c0 = Vector512.FusedMultiplyAdd(v, w0, c0); c1 = Vector512.FusedMultiplyAdd(v, w1, c1);
            c2 = Vector512.FusedMultiplyAdd(v, w2, c2); c3 = Vector512.FusedMultiplyAdd(v, w3, c3);
            v = Vector512.Create(x3[k]);
            d0 = Vector512.FusedMultiplyAdd(v, w0, d0); d1 = Vector512.FusedMultiplyAdd(v, w1, d1);
            d2 = Vector512.FusedMultiplyAdd(v, w2, d2); d3 = Vector512.FusedMultiplyAdd(v, w3, d3);
        }
        a0.Store(y); a1.Store(y + 16); a2.Store(y + 32); a3.Store(y + 48);
        b0.Store(y1); b1.Store(y1 + 16); b2.Store(y1 + 32); b3.Store(y1 + 48);
        c0.Store(y2); c1.Store(y2 + 16); c2.Store(y2 + 32); c3.Store(y2 + 48);
        d0.Store(y3); d1.Store(y3 + 16); d2.Store(y3 + 32); d3.Store(y3 + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile1x512(float* x, float* panel, int depth, float* y, bool add)
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
        if (add)
        {
            a0 = Vector512.Load(y); a1 = Vector512.Load(y + 16); a2 = Vector512.Load(y + 32); a3 = Vector512.Load(y + 48);
        }
        for (int k = 0; k < depth; k++, panel += 64)
        {
            var v = Vector512.Create(x[k]);
            a0 = Vector512.FusedMultiplyAdd(v, Vector512.Load(panel), a0);
            a1 = Vector512.FusedMultiplyAdd(v, Vector512.Load(panel + 16), a1);
            a2 = Vector512.FusedMultiplyAdd(v, Vector512.Load(panel + 32), a2);
            a3 = Vector512.FusedMultiplyAdd(v, Vector512.Load(panel + 48), a3);
        }
        a0.Store(y); a1.Store(y + 16); a2.Store(y + 32); a3.Store(y + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4x256(float* x, long xStride, float* panel, int depth, float* y, long yStride, bool add)
    {
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
        float* y1 = y + yStride, y2 = y1 + yStride, y3 = y2 + yStride;
        Vector256<float> a0 = default, a1 = default, a2 = default;
        Vector256<float> b0 = default, b1 = default, b2 = default;
        Vector256<float> c0 = default, c1 = default, c2 = default;
        Vector256<float> d0 = default, d1 = default, d2 = default;
        if (add)
        {
            a0 = Vector256.Load(y); a1 = Vector256.Load(y + 8); a2 = Vector256.Load(y + 16);
            b0 = Vector256.Load(y1); b1 = Vector256.Load(y1 + 8); b2 = Vector256.Load(y1 + 16);
            c0 = Vector256.Load(y2); c1 = Vector256.Load(y2 + 8); c2 = Vector256.Load(y2 + 16);
            d0 = Vector256.Load(y3); d1 = Vector256.Load(y3 + 8); d2 = Vector256.Load(y3 + 16);
        }
        for (int k = 0; k < depth; k++, panel += 24)
        {
            Vector256<float> w0 = Vector256.Load(panel), w1 = Vector256.Load(panel + 8), w2 = Vector256.Load(panel + 16);
            var v = Vector256.Create(x[k]);
            a0 = Fma(v, w0, a0); a1 = Fma(v, w1, a1); a2 = Fma(v, w2, a2);
            v = Vector256.Create(x1[k]);
            b0 = Fma(v, w0, b0); b1 = Fma(v, w1, b1); b2 = Fma(v, w2, b2);
            v = Vector256.Create(x2[k]);
            c0 = Fma(v, w0, c0); c1 = Fma(v, w1, c1); c2 = Fma(v, w2, c2);
            v = Vector256.Create(x3[k]);
            d0 = Fma(v, w0, d0); d1 = Fma(v, w1, d1); d2 = Fma(v, w2, d2);
        }
        a0.Store(y); a1.Store(y + 8); a2.Store(y + 16);
        b0.Store(y1); b1.Store(y1 + 8); b2.Store(y1 + 16);
        c0.Store(y2); c1.Store(y2 + 8); c2.Store(y2 + 16);
        d0.Store(y3); d1.Store(y3 + 8); d2.Store(y3 + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile1x256(float* x, float* panel, int depth, float* y, bool add)
    {
        Vector256<float> a0 = default, a1 = default, a2 = default;
        if (add)
        {
            a0 = Vector256.Load(y); a1 = Vector256.Load(y + 8); a2 = Vector256.Load(y + 16);
        }
        for (int k = 0; k < depth; k++, panel += 24)
        {
            var v = Vector256.Create(x[k]);
            a0 = Fma(v, Vector256.Load(panel), a0);
            a1 = Fma(v, Vector256.Load(panel + 8), a1);
            a2 = Fma(v, Vector256.Load(panel + 16), a2);
        }
        a0.Store(y); a1.Store(y + 8); a2.Store(y + 16);
    }

    // A machine without 256-bit vectors fuses per 128-bit half; the fallback of Vector256.FusedMultiplyAdd does not promise it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Fma(Vector256<float> a, Vector256<float> b, Vector256<float> c) =>
        Vector256.IsHardwareAccelerated
            ? Vector256.FusedMultiplyAdd(a, b, c)
            : Vector256.Create(
                Vector128.FusedMultiplyAdd(a.GetLower(), b.GetLower(), c.GetLower()),
                Vector128.FusedMultiplyAdd(a.GetUpper(), b.GetUpper(), c.GetUpper()));
}
