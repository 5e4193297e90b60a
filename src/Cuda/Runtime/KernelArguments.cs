using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace AttnCompose.Cuda;

/// <summary>
/// The arguments of one launch in one block, each at a multiple of its own alignment. The driver is given the address of each
/// and lays them out for the kernel. The block is allocated once and used for every launch.
/// </summary>
public sealed unsafe class KernelArguments : IDisposable
{
    /// <summary>Most bytes of arguments that every device and driver takes.</summary>
    public const int Capacity = 4096;

    private const int BlockAlignment = 64; // what the most demanding argument, a tensor map, asks for

    private readonly (int Offset, int Bytes)[] _places = new (int, int)[64];
    private byte* _block = (byte*)NativeMemory.AlignedAlloc(Capacity, BlockAlignment);

    /// <summary>Arguments added since <see cref="Clear"/>.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes used.</summary>
    public int Bytes { get; private set; }

    /// <summary>Offset and size of each argument, bytes.</summary>
    public ReadOnlySpan<(int Offset, int Bytes)> Places => _places.AsSpan(0, Count);

    /// <summary>The packed bytes.</summary>
    public ReadOnlySpan<byte> Content => new(_block, Bytes);

    internal void* Pointer => _block;

    /// <summary>Forgets all arguments.</summary>
    public void Clear() => (Count, Bytes) = (0, 0);

    /// <summary>Adds an argument at the natural alignment of its type.</summary>
    public void Add<T>(in T value) where T : unmanaged => Add(in value, sizeof(Aligned<T>) - sizeof(T));

    /// <summary>Adds an argument that asks for an alignment of its own, such as 64 bytes for a tensor map.</summary>
    /// <param name="value">The argument.</param>
    /// <param name="alignment">A power of two up to 64, bytes.</param>
    /// <exception cref="ArgumentException">The arguments pass 4096 bytes or 64 in number.</exception>
    public void Add<T>(in T value, int alignment) where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(_block == null, this);
        if (alignment is < 1 or > BlockAlignment || (alignment & (alignment - 1)) != 0)
            throw new ArgumentOutOfRangeException(nameof(alignment), alignment, "An alignment is a power of two up to 64.");
        int offset = (Bytes + alignment - 1) & -alignment;
        if (offset + sizeof(T) > Capacity || Count == _places.Length)
            throw new ArgumentException(
                $"A kernel takes at most {Capacity} bytes and {_places.Length} arguments.", nameof(value));
        new Span<byte>(_block + Bytes, offset - Bytes).Clear();
        Unsafe.WriteUnaligned(_block + offset, value);
        _places[Count++] = (offset, sizeof(T));
        Bytes = offset + sizeof(T);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.AlignedFree(_block);
        _block = null;
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees a block that nobody disposed.</summary>
    ~KernelArguments() => NativeMemory.AlignedFree(_block);

    /// <summary>One byte and a value: what this is longer than the value is the value's alignment.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Aligned<T> where T : unmanaged
    {
#pragma warning disable CS0649, CS0169 // only its size is used
        private byte _byte;
        private T _value;
#pragma warning restore CS0649, CS0169
    }
}
