using System.Numerics.Tensors;

namespace AttnCompose;

/// <summary>
/// Makes views of shape [batch, heads, length, dim] over memory in the usual layouts. A dimension of length 0 or 1 gets
/// stride 0, which is what <see cref="TensorSpan{T}"/> asks for; no kernel uses the stride of such a dimension.
/// </summary>
public static class AttentionTensor
{
    /// <summary>A view of memory stored as [batch, heads, length, dim].</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the memory is shorter than the shape.</exception>
    public static TensorSpan<T> FromBhld<T>(Span<T> data, int batch, int heads, int length, int dim)
    {
        Span<nint> lengths = [batch, heads, length, dim];
        Span<nint> strides = stackalloc nint[4];
        long stride = dim;
        FillStrides(data.Length, lengths, strides, (long)heads * length * stride, length * stride, stride);
        return new TensorSpan<T>(data[..(int)Count(lengths)], lengths, strides);
    }

    /// <summary>A view of shape [batch, heads, length, dim] over memory stored as [batch, length, heads, dim].</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the memory is shorter than the shape.</exception>
    public static TensorSpan<T> FromBlhd<T>(Span<T> data, int batch, int length, int heads, int dim)
    {
        Span<nint> lengths = [batch, heads, length, dim];
        Span<nint> strides = stackalloc nint[4];
        FillStrides(data.Length, lengths, strides, (long)length * heads * dim, dim, (long)heads * dim);
        return new TensorSpan<T>(data[..(int)Count(lengths)], lengths, strides);
    }

    /// <summary>A view of an array stored as [batch, heads, length, dim].</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the array is shorter than the shape.</exception>
    public static TensorSpan<T> FromBhld<T>(T[] data, int batch, int heads, int length, int dim) =>
        FromBhld(data.AsSpan(), batch, heads, length, dim);

    /// <summary>A view of shape [batch, heads, length, dim] over an array stored as [batch, length, heads, dim].</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the array is shorter than the shape.</exception>
    public static TensorSpan<T> FromBlhd<T>(T[] data, int batch, int length, int heads, int dim) =>
        FromBlhd(data.AsSpan(), batch, length, heads, dim);

    /// <summary>A read-only view of memory stored as [batch, heads, length, dim].</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the memory is shorter than the shape.</exception>
    public static ReadOnlyTensorSpan<T> FromBhld<T>(ReadOnlySpan<T> data, int batch, int heads, int length, int dim)
    {
        Span<nint> lengths = [batch, heads, length, dim];
        Span<nint> strides = stackalloc nint[4];
        long stride = dim;
        FillStrides(data.Length, lengths, strides, (long)heads * length * stride, length * stride, stride);
        return new ReadOnlyTensorSpan<T>(data[..(int)Count(lengths)], lengths, strides);
    }

    /// <summary>A read-only view of shape [batch, heads, length, dim] over memory stored as [batch, length, heads, dim].</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the memory is shorter than the shape.</exception>
    public static ReadOnlyTensorSpan<T> FromBlhd<T>(ReadOnlySpan<T> data, int batch, int length, int heads, int dim)
    {
        Span<nint> lengths = [batch, heads, length, dim];
        Span<nint> strides = stackalloc nint[4];
        FillStrides(data.Length, lengths, strides, (long)length * heads * dim, dim, (long)heads * dim);
        return new ReadOnlyTensorSpan<T>(data[..(int)Count(lengths)], lengths, strides);
    }

    /// <summary>A view of any strides (in elements) whose last is 1, such as one tensor of a fused QKV buffer.</summary>
    /// <exception cref="ArgumentException">A dimension is negative, the last element lies outside the memory, or rows overlap
    /// without being the same.</exception>
    public static TensorSpan<T> FromStrides<T>(
        Span<T> data, int batch, int heads, int length, int dim, nint batchStride, nint headStride, nint rowStride)
    {
        Span<nint> lengths = [batch, heads, length, dim];
        Span<nint> strides = stackalloc nint[4];
        FillStrides(data.Length, lengths, strides, batchStride, headStride, rowStride);
        return new TensorSpan<T>(data, lengths, strides);
    }

    /// <summary>A view of shape [batch, heads, length] for log-sum-exp values.</summary>
    /// <exception cref="ArgumentException">A dimension is negative, or the memory is shorter than the shape.</exception>
    public static TensorSpan<float> LogSumExp(Span<float> data, int batch, int heads, int length)
    {
        Span<nint> lengths = [batch, heads, length];
        long count = Count(lengths);
        if (count > data.Length)
            throw new ArgumentException($"Shape [{batch}, {heads}, {length}] needs {count} elements; the memory has {data.Length}.");
        Span<nint> strides = [batch > 1 ? (nint)heads * length : 0, heads > 1 ? length : 0, length > 1 ? 1 : 0];
        return new TensorSpan<float>(data[..(int)count], lengths, strides);
    }

    private static long Count(ReadOnlySpan<nint> lengths)
    {
        long count = 1;
        foreach (nint length in lengths)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(length);
            count = checked(count * length);
        }
        return count;
    }

    private static void FillStrides(
        int available, ReadOnlySpan<nint> lengths, Span<nint> strides, long batchStride, long headStride, long rowStride)
    {
        ReadOnlySpan<long> natural = [batchStride, headStride, rowStride, 1];
        bool empty = Count(lengths) == 0;
        long last = 0;
        for (int i = 0; i < 4; i++)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(natural[i], "stride");
            strides[i] = lengths[i] > 1 && !empty ? checked((nint)natural[i]) : 0;
            last = checked(last + strides[i] * Math.Max(0, lengths[i] - 1));
        }
        if (!empty && last >= available)
        {
            throw new ArgumentException(
                $"Shape [{lengths[0]}, {lengths[1]}, {lengths[2]}, {lengths[3]}] reaches element {last}; the memory has {available}.");
        }
    }
}
