using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Conformance;

/// <summary>A tensor [batch, heads, length, dim] in one of the test layouts; gaps and new tensors hold NaN.</summary>
internal sealed class HostTensor<T>
    where T : unmanaged
{
    private const int RowGap = 8;

    private readonly T[] _data;
    private readonly int _batch;
    private readonly int _heads;
    private readonly int _length;
    private readonly int _dim;
    private readonly (nint Batch, nint Head, nint Row) _strides;

    public HostTensor(TensorLayout layout, int batch, int heads, int length, int dim)
    {
        (_batch, _heads, _length, _dim) = (batch, heads, length, dim);
        nint row = layout == TensorLayout.Padded ? dim + RowGap : dim;
        _strides = layout == TensorLayout.Blhd
            ? (length * heads * row, row, heads * row)
            : (heads * length * row, length * row, row);
        _data = new T[batch * _strides.Batch];
        var poison = new float[_data.Length];
        Array.Fill(poison, float.NaN);
        ElementConvert.FromFloat<T>(poison, _data);
    }

    public TensorSpan<T> View =>
        AttentionTensor.FromStrides<T>(_data, _batch, _heads, _length, _dim, _strides.Batch, _strides.Head, _strides.Row);

    /// <summary>Sets all elements from a contiguous [batch, heads, length, dim] array.</summary>
    public void Fill(ReadOnlySpan<float> values)
    {
        for (int i = 0; i < _batch * _heads * _length; i++)
            ElementConvert.FromFloat(values.Slice(i * _dim, _dim), _data.AsSpan(Offset(i), _dim));
    }

    /// <summary>All elements as a contiguous [batch, heads, length, dim] array.</summary>
    public float[] ToArray()
    {
        var values = new float[_batch * _heads * _length * _dim];
        for (int i = 0; i < _batch * _heads * _length; i++)
            ElementConvert.ToFloat<T>(_data.AsSpan(Offset(i), _dim), values.AsSpan(i * _dim, _dim));
        return values;
    }

    private int Offset(int row) => (int)(
        row / (_heads * _length) * _strides.Batch + row / _length % _heads * _strides.Head + row % _length * _strides.Row);
}
