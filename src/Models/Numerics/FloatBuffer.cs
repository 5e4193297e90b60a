using System.Runtime.InteropServices;

namespace AttnCompose.Models;

/// <summary>Floats outside the managed heap, 64-byte aligned, cleared.</summary>
internal sealed unsafe class FloatBuffer : IDisposable
{
    private float* _data;

    public FloatBuffer(long count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        nuint bytes = checked((nuint)Math.Max(count, 1) * sizeof(float));
        _data = (float*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(_data, bytes);
        Count = count;
    }

    ~FloatBuffer() => Free();

    public long Count { get; }

    public float* Data => _data != null ? _data : throw new ObjectDisposedException(nameof(LlamaModel));

    public Span<float> Span(long start, int count)
    {
        if (start < 0 || count < 0 || start > Count - count)
            throw new ArgumentOutOfRangeException(nameof(start), $"[{start}, {start + count}) of {Count} elements.");
        return new Span<float>(Data + start, count);
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_data);
        _data = null;
    }
}
