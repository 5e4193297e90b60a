namespace AttnCompose;

/// <summary>
/// Byte offsets of named buffers in one device allocation. A stage adds its buffers; generated code asks for them by name
/// when it launches. Every buffer begins on a 256-byte boundary.
/// </summary>
public sealed class WorkspaceLayout
{
    /// <summary>Alignment of every buffer, bytes.</summary>
    public const long Alignment = 256;

    private readonly List<(string Name, long Offset, long Bytes)> _buffers = [];

    /// <summary>Bytes of the whole allocation.</summary>
    public long TotalBytes { get; private set; }

    /// <summary>The buffers in the order they were added.</summary>
    public IReadOnlyList<(string Name, long Offset, long Bytes)> Buffers => _buffers;

    /// <summary>Forgets all buffers, so that one layout serves every call.</summary>
    public void Clear()
    {
        _buffers.Clear();
        TotalBytes = 0;
    }

    /// <summary>Adds a buffer.</summary>
    /// <param name="name">The name in the stage's <see cref="DeviceBufferAttribute"/>.</param>
    /// <param name="count">Elements, of any size.</param>
    /// <param name="elementBytes">Bytes of an element.</param>
    /// <exception cref="ArgumentException">The name is taken.</exception>
    /// <exception cref="OverflowException">The size passes 2^63 bytes.</exception>
    public void Add(string name, long count, int elementBytes)
    {
        foreach (var buffer in _buffers)
        {
            if (buffer.Name == name)
                throw new ArgumentException($"Workspace buffer '{name}' was added twice.", nameof(name));
        }
        long bytes = checked(count * elementBytes);
        _buffers.Add((name, TotalBytes, bytes));
        TotalBytes = checked(TotalBytes + (bytes + Alignment - 1) / Alignment * Alignment);
    }

    /// <summary>Byte offset of a buffer.</summary>
    /// <exception cref="KeyNotFoundException">No stage added it.</exception>
    public long OffsetOf(string name)
    {
        foreach (var buffer in _buffers)
        {
            if (buffer.Name == name)
                return buffer.Offset;
        }
        throw new KeyNotFoundException($"No stage added workspace buffer '{name}'; it is declared by a [DeviceBuffer] but not by DescribeWorkspace.");
    }
}
