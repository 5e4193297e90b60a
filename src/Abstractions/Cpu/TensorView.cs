using System.Runtime.CompilerServices;

namespace AttnCompose.Cpu;

/// <summary>A pinned tensor [batch, heads, length, dim] whose rows are contiguous. Valid for the duration of one call.</summary>
/// <typeparam name="T">Element type.</typeparam>
public readonly unsafe struct TensorView<T>
    where T : unmanaged
{
    private readonly T* _data;
    private readonly long _batchStride;
    private readonly long _headStride;
    private readonly long _rowStride;

    internal TensorView(T* data, int batch, int heads, int length, int dim, long batchStride, long headStride, long rowStride)
    {
        _data = data;
        (_batchStride, _headStride, _rowStride) = (batchStride, headStride, rowStride);
        (Batch, Heads, Length, Dim) = (batch, heads, length, dim);
    }

    /// <summary>Sequences.</summary>
    public int Batch { get; }

    /// <summary>Heads.</summary>
    public int Heads { get; }

    /// <summary>Rows a head, valid or not.</summary>
    public int Length { get; }

    /// <summary>Elements a row.</summary>
    public int Dim { get; }

    /// <summary>Whether there is no tensor behind the view.</summary>
    public bool IsNull => _data == null;

    /// <summary>One row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Span<T> Row(int batch, int head, int row) => new(Pointer(batch, head, row), Dim);

    /// <summary>Address of one row; addresses are computed in 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T* Pointer(int batch, int head, int row) =>
        _data + (batch * _batchStride + head * _headStride + row * _rowStride);
}
