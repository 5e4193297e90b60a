using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>
/// Writes a safetensors file: beside its place first, then renamed, so that a failure leaves no partial file and an earlier
/// one as it was.
/// </summary>
public sealed class SafeTensorsWriter
{
    private const int PartBytes = 1 << 20;

    private readonly List<Entry> _entries = [];
    private readonly HashSet<string> _names = [];

    /// <summary>The <c>__metadata__</c> entries to write.</summary>
    public IDictionary<string, string> Metadata { get; } = new SortedDictionary<string, string>(StringComparer.Ordinal);

    private delegate void WriteData(Stream stream);

    /// <summary>Adds a tensor. The memory is read by <see cref="Save"/>, not copied before.</summary>
    /// <typeparam name="T">float, <see cref="Half"/>, <see cref="BFloat16"/>, int or long.</typeparam>
    /// <param name="name">Name, new in this file.</param>
    /// <param name="shape">Sizes, slowest first.</param>
    /// <param name="data">As many elements as the product of <paramref name="shape"/>, row-major.</param>
    /// <exception cref="ArgumentException">The name is taken or reserved, or the lengths do not agree.</exception>
    /// <exception cref="NotSupportedException">The element type is another.</exception>
    public void Add<T>(string name, ReadOnlySpan<long> shape, ReadOnlyMemory<T> data) where T : unmanaged
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        SafeTensorType type = SafeTensorTypes.Of<T>()

            ?? throw new NotSupportedException(
                $"Element type {typeof(T).Name} is not written: float, Half, BFloat16, int and long are.");
        long count = 1;
        foreach (long size in shape)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(size, nameof(shape));
            count = checked(count * size);
        }
        if (shape.Length > SafeTensorsHeader.MaxRank)
        {
            throw new ArgumentException(
                $"Tensor '{name}' has {shape.Length} dimensions; at most {SafeTensorsHeader.MaxRank} are taken.", nameof(shape));
        }
        if (count != data.Length)
        {
            throw new ArgumentException(
                $"Tensor '{name}' of shape [{string.Join(", ", shape.ToArray())}] has {count} elements; the memory has "
                + $"{data.Length}.", nameof(data));
        }
        if (name == "__metadata__" || !_names.Add(name))
            throw new ArgumentException($"The name '{name}' is taken.", nameof(name));
        long bytes = count * SafeTensorTypes.Size(type);
        _entries.Add(new Entry(name, type, shape.ToArray(), bytes, stream => WriteElements(stream, data.Span)));
    }

    /// <summary>Writes the file, replacing one that is there.</summary>
    /// <exception cref="SafeTensorsException">The file cannot be written; nothing is left behind.</exception>
    public void Save(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        // Wide elements first: with the header padded to 8 bytes, every tensor is then aligned to its element.
        Entry[] entries = [.. _entries.OrderByDescending(entry => SafeTensorTypes.Size(entry.Type))];
        byte[] header = Header(entries);
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[SafeTensorsHeader.LengthBytes];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (Entry entry in entries)
                entry.Write(stream);
        }, static (message, cause) => new SafeTensorsException(message, cause));
    }

    private byte[] Header(Entry[] entries)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (Metadata.Count > 0)
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in Metadata)
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (Entry entry in entries)
            {
                json.WriteStartObject(entry.Name);
                json.WriteString("dtype", SafeTensorTypes.Name(entry.Type));
                json.WriteStartArray("shape");
                foreach (long size in entry.Shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += entry.ByteCount);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (buffer.WrittenCount % 8 != 0)
            buffer.Write(" "u8);
        return buffer.WrittenSpan.ToArray();
    }

    private static void WriteElements<T>(Stream stream, ReadOnlySpan<T> data) where T : unmanaged
    {
        // In parts: the bytes of a long span are more than a byte span can hold.
        int part = PartBytes / Unsafe.SizeOf<T>();
        for (; data.Length > part; data = data[part..])
            stream.Write(MemoryMarshal.AsBytes(data[..part]));
        stream.Write(MemoryMarshal.AsBytes(data));
    }

    private sealed record Entry(string Name, SafeTensorType Type, long[] Shape, long ByteCount, WriteData Write);
}
