using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using AttnCompose.Cpu;

namespace AttnCompose.Conformance;

/// <summary>
/// A tensor [batch, heads, length, dim] in one of the test layouts, in memory with a guard on both sides. New tensors, gaps
/// and guards hold 0xFF bytes, which is NaN in every element type.
/// </summary>
internal sealed class HostTensor<T>
    where T : unmanaged
{
    // Leaves a tensor of 16-bit elements aligned to 16 bytes and to no more, which is all that a device may ask for.
    private const int Guard = 72;
    private const int RowGap = 8;

    private readonly int _batch;
    private readonly int _heads;
    private readonly int _length;
    private readonly int _dim;
    private readonly (nint Batch, nint Head, nint Row) _strides;

    public HostTensor(TensorLayout layout, int batch, int heads, int length, int dim, int headsOfRow)
    {
        (_batch, _heads, _length, _dim) = (batch, heads, length, dim);
        nint row = layout == TensorLayout.Padded ? dim + RowGap : dim;
        _strides = layout is TensorLayout.Blhd or TensorLayout.Fused
            ? (length * headsOfRow * row, row, headsOfRow * row)
            : (heads * length * row, length * row, row);
        Memory = new T[2 * Guard + batch * _strides.Batch];
        MemoryMarshal.AsBytes(Memory.AsSpan()).Fill(0xFF);
    }

    /// <summary>Everything, guards included.</summary>
    public T[] Memory { get; }

    /// <summary>Where the tensor begins in <see cref="Memory"/>.</summary>
    public int Begin => Guard;

    /// <summary>Memory without the guards.</summary>
    public Span<T> Elements => Memory.AsSpan(Guard, Memory.Length - 2 * Guard);

    public nint[] Lengths => [_batch, _heads, _length, _dim];

    public nint[] Strides => [_strides.Batch, _strides.Head, _strides.Row, 1];

    public TensorSpan<T> View => AttentionTensor.FromStrides(
        Elements, _batch, _heads, _length, _dim, _strides.Batch, _strides.Head, _strides.Row);

    /// <summary>Sets all elements from a contiguous [batch, heads, length, dim] array.</summary>
    public void Fill(ReadOnlySpan<float> values)
    {
        for (int i = 0; i < Rows; i++)
            ElementConvert.FromFloat(values.Slice(i * _dim, _dim), Row(Memory, i));
    }

    /// <summary>All elements as a contiguous [batch, heads, length, dim] array.</summary>
    public float[] ToArray()
    {
        var values = new float[Rows * _dim];
        for (int i = 0; i < Rows; i++)
            ElementConvert.ToFloat<T>(Row(Memory, i), values.AsSpan(i * _dim, _dim));
        return values;
    }

    /// <summary>Whether something was written beside the elements: into gaps or guards.</summary>
    public IEnumerable<string> Strays(string name)
    {
        var rest = (T[])Memory.Clone();
        for (int i = 0; i < Rows; i++)
            MemoryMarshal.AsBytes(Row(rest, i)).Fill(0xFF);
        int stray = MemoryMarshal.AsBytes(rest.AsSpan()).IndexOfAnyExcept((byte)0xFF);
        if (stray >= 0)
            yield return $"{name}: byte {stray - Guard * Unsafe.SizeOf<T>()} from its beginning was written, outside the tensor";
    }

    private int Rows => _batch * _heads * _length;

    private Span<T> Row(T[] memory, int row) => memory.AsSpan(Guard + (int)(
        row / (_heads * _length) * _strides.Batch + row / _length % _heads * _strides.Head + row % _length * _strides.Row), _dim);
}
