using System.Runtime.CompilerServices;

namespace AttnCompose.Cuda;

/// <summary>
/// A tensor in device memory, with a length and a stride (in elements) a dimension. It either owns its memory or is a view
/// of memory that something else owns.
/// </summary>
/// <typeparam name="T">Element type.</typeparam>
public sealed unsafe class CudaTensor<T> : IDisposable
    where T : unmanaged
{
    private readonly nint[] _lengths;
    private readonly nint[] _strides;
    private readonly nint _offset;
    private readonly DeviceMemory? _memory;
    private readonly bool _owner;

    internal CudaTensor(
        CudaDevice device, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides, DeviceMemory? memory, bool owner, nint offset)
    {
        Device = device;
        (_lengths, _strides) = (lengths.ToArray(), strides.ToArray());
        (_memory, _owner, _offset) = (memory, owner, offset);
        Count = CudaTensor.Count(lengths);
        Extent = CudaTensor.Extent(lengths, strides);
    }

    /// <summary>The device.</summary>
    public CudaDevice Device { get; }

    /// <summary>Dimensions.</summary>
    public int Rank => _lengths.Length;

    /// <summary>Elements of each dimension.</summary>
    public ReadOnlySpan<nint> Lengths => _lengths;

    /// <summary>Elements from one index of a dimension to the next.</summary>
    public ReadOnlySpan<nint> Strides => _strides;

    /// <summary>Elements.</summary>
    public long Count { get; }

    /// <summary>Elements of memory from the first to the last one, gaps included.</summary>
    public long Extent { get; }

    /// <summary>Device address of the first element.</summary>
    /// <exception cref="ObjectDisposedException">The memory was freed.</exception>
    public nint Pointer => (_memory?.Value ?? 0) + _offset;

    /// <summary>Whether disposing the tensor frees its memory.</summary>
    public bool OwnsMemory => _owner;

    /// <summary>Another shape over the same memory, from an element on. Disposing it frees nothing.</summary>
    /// <exception cref="ArgumentException">A length or stride is negative, or the view leaves the tensor's memory.</exception>
    public CudaTensor<T> View(long offset, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
    {
        CudaTensor.CheckShape(lengths, strides);
        if (offset < 0 || checked(offset + CudaTensor.Extent(lengths, strides)) > Extent)
        {
            throw new ArgumentException(
                $"A view of {CudaTensor.Text(lengths)} with strides {CudaTensor.Text(strides)} from element {offset} leaves the {Extent} elements of the tensor.");
        }
        return new(Device, lengths, strides, _memory, owner: false, _offset + checked((nint)(offset * sizeof(T))));
    }

    /// <summary>Copies host memory, in the order of storage, and waits until it is there.</summary>
    /// <exception cref="ArgumentException">The lengths differ, or the tensor has gaps.</exception>
    public void CopyFrom(ReadOnlySpan<T> source, CudaStream? stream = null)
    {
        CheckCopy(source.Length);
        if (source.IsEmpty)
            return;
        stream = CudaTensor.StreamOf(Device, stream);
        fixed (T* from = source)
            Device.Context.Upload(Pointer, from, (long)source.Length * sizeof(T), stream);
        GC.KeepAlive(this);
    }

    /// <summary>Copies to host memory, in the order of storage, behind all work put on the stream, and waits for it.</summary>
    /// <exception cref="ArgumentException">The lengths differ, or the tensor has gaps.</exception>
    public void CopyTo(Span<T> destination, CudaStream? stream = null)
    {
        CheckCopy(destination.Length);
        if (destination.IsEmpty)
            return;
        stream = CudaTensor.StreamOf(Device, stream);
        fixed (T* to = destination)
            Device.Context.Download(to, Pointer, (long)destination.Length * sizeof(T), stream);
        GC.KeepAlive(this);
    }

    /// <summary>Sets every byte, gaps included; the stream does not wait for it.</summary>
    public void FillBytes(byte value, CudaStream? stream = null)
    {
        stream = CudaTensor.StreamOf(Device, stream);
        CudaContext context = Device.Context;
        if (Extent > 0)
        {
            nuint bytes = checked((nuint)(Extent * sizeof(T)));
            context.Check(context.Enter("cuMemsetD8Async").Fill(Pointer, value, bytes, stream.Handle), "cuMemsetD8Async");
        }
        GC.KeepAlive(this);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_owner)
            _memory?.Dispose();
    }

    /// <inheritdoc/>
    public override string ToString() => $"{typeof(T).Name} {CudaTensor.Text(_lengths)} on {Device.Name}";

    private void CheckCopy(int length)
    {
        if (length != Count)
            throw new ArgumentException($"The tensor {CudaTensor.Text(_lengths)} has {Count} elements; the span has {length}.");
        if (Extent != Count)
            throw new ArgumentException(
                $"The tensor {CudaTensor.Text(_lengths)} with strides {CudaTensor.Text(_strides)} has gaps; copy the tensor it is a view of.");
    }
}

/// <summary>Makes device tensors.</summary>
public static class CudaTensor
{
    /// <summary>Memory for a shape, rows after rows, not cleared.</summary>
    /// <exception cref="CudaException">The device has not enough memory.</exception>
    public static CudaTensor<T> Allocate<T>(CudaDevice device, params ReadOnlySpan<nint> lengths) where T : unmanaged
    {
        Span<nint> strides = stackalloc nint[lengths.Length];
        FillDense(lengths, strides);
        return Allocate<T>(device, lengths, strides);
    }

    /// <summary>Memory for [batch, heads, length, dim], stored in that order, not cleared.</summary>
    public static CudaTensor<T> AllocateBhld<T>(CudaDevice device, int batch, int heads, int length, int dim)
        where T : unmanaged => Allocate<T>(device, batch, heads, length, dim);

    /// <summary>Memory for [batch, heads, length, dim], stored as [batch, length, heads, dim], not cleared.</summary>
    public static CudaTensor<T> AllocateBlhd<T>(CudaDevice device, int batch, int length, int heads, int dim) where T : unmanaged
    {
        nint row = checked((nint)heads * dim);
        return Allocate<T>(device, [batch, heads, length, dim], [checked(length * row), dim, row, 1]);
    }

    /// <summary>A copy of host memory stored as [batch, heads, length, dim].</summary>
    public static CudaTensor<T> FromBhld<T>(CudaDevice device, ReadOnlySpan<T> data, int batch, int heads, int length, int dim)
        where T : unmanaged => Filled(AllocateBhld<T>(device, batch, heads, length, dim), data);

    /// <summary>A copy of host memory stored as [batch, length, heads, dim]; the shape is [batch, heads, length, dim].</summary>
    public static CudaTensor<T> FromBlhd<T>(CudaDevice device, ReadOnlySpan<T> data, int batch, int length, int heads, int dim)
        where T : unmanaged => Filled(AllocateBlhd<T>(device, batch, length, heads, dim), data);

    /// <summary>A copy of host memory as a tensor of one dimension, such as key lengths.</summary>
    public static CudaTensor<T> From<T>(CudaDevice device, params ReadOnlySpan<T> data) where T : unmanaged =>
        Filled(Allocate<T>(device, data.Length), data);

    /// <summary>A view of device memory that another library owns. The memory must outlive it.</summary>
    /// <param name="device">The device of the memory.</param>
    /// <param name="pointer">Device address of the first element.</param>
    /// <param name="lengths">Elements of each dimension.</param>
    /// <param name="strides">Elements from one index of a dimension to the next.</param>
    /// <exception cref="ArgumentException">A length or stride is negative, or there are not as many of one as of the
    /// other.</exception>
    public static CudaTensor<T> View<T>(CudaDevice device, nint pointer, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(device);
        CheckShape(lengths, strides);
        if (pointer == 0 && Count(lengths) > 0)
            throw new ArgumentNullException(nameof(pointer));
        return new(device, lengths, strides, memory: null, owner: false, pointer);
    }

    /// <summary>A view of device memory, rows after rows.</summary>
    internal static CudaTensor<T> Dense<T>(CudaDevice device, nint pointer, ReadOnlySpan<nint> lengths) where T : unmanaged
    {
        Span<nint> strides = stackalloc nint[lengths.Length];
        FillDense(lengths, strides);
        return View<T>(device, pointer, lengths, strides);
    }

    private static void FillDense(ReadOnlySpan<nint> lengths, Span<nint> strides)
    {
        nint stride = 1;
        for (int i = lengths.Length - 1; i >= 0; i--)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(lengths[i], nameof(lengths));
            strides[i] = stride;
            stride = checked(stride * Math.Max(1, lengths[i]));
        }
    }

    internal static CudaStream StreamOf(CudaDevice device, CudaStream? stream)
    {
        stream ??= device.DefaultStream;
        if (stream.Device.Ordinal != device.Ordinal)
            throw new ArgumentException(
                $"The stream is on {stream.Device.Name}; the tensors are on {device.Name}.", nameof(stream));
        return stream;
    }

    internal static void CheckShape(ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
    {
        if (lengths.Length != strides.Length)
            throw new ArgumentException($"{lengths.Length} lengths and {strides.Length} strides were given.", nameof(strides));
        for (int i = 0; i < lengths.Length; i++)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(lengths[i], nameof(lengths));
            ArgumentOutOfRangeException.ThrowIfNegative(strides[i], nameof(strides));
        }
    }

    internal static long Count(ReadOnlySpan<nint> lengths)
    {
        long count = 1;
        foreach (nint length in lengths)
            count = checked(count * length);
        return count;
    }

    internal static long Extent(ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
    {
        long extent = 1;
        for (int i = 0; i < lengths.Length; i++)
        {
            if (lengths[i] == 0)
                return 0;
            extent = checked(extent + (lengths[i] - 1) * (long)strides[i]);
        }
        return extent;
    }

    internal static string Text(ReadOnlySpan<nint> values) => $"[{string.Join(", ", values.ToArray())}]";

    private static CudaTensor<T> Allocate<T>(CudaDevice device, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(device);
        CheckShape(lengths, strides);
        long bytes = checked(Count(lengths) * Unsafe.SizeOf<T>());
        return new(device, lengths, strides, device.Context.Allocate(bytes, $"a tensor {Text(lengths)}"), owner: true, offset: 0);
    }

    private static CudaTensor<T> Filled<T>(CudaTensor<T> tensor, ReadOnlySpan<T> data) where T : unmanaged
    {
        try
        {
            tensor.CopyFrom(data);
            return tensor;
        }
        catch
        {
            tensor.Dispose();
            throw;
        }
    }
}
