using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>
/// The header of a safetensors file, parsed and checked: 8 bytes of length, a JSON object that names type, shape and byte
/// range of each tensor, then the bytes. Nothing in a header is trusted: no size in it is allocated before the bytes that it
/// speaks of are known to exist, products are checked, and the ranges must tile the rest of the file exactly.
/// </summary>
public sealed class SafeTensorsHeader
{
    /// <summary>Largest JSON header taken, the cap of the reference implementation.</summary>
    public const int MaxHeaderBytes = 100_000_000;

    /// <summary>Most tensors, and most metadata entries, of one file.</summary>
    public const int MaxEntries = 200_000;

    /// <summary>Most dimensions of one tensor.</summary>
    public const int MaxRank = 16;

    internal const int LengthBytes = 8;

    private readonly Dictionary<string, SafeTensorInfo> _byName;

    private SafeTensorsHeader(
        List<SafeTensorInfo> tensors, Dictionary<string, SafeTensorInfo> byName, Dictionary<string, string> metadata)
    {
        (Tensors, _byName, Metadata) = (tensors, byName, metadata);
    }

    /// <summary>The tensors in the order of their bytes.</summary>
    public IReadOnlyList<SafeTensorInfo> Tensors { get; }

    /// <summary>The <c>__metadata__</c> entries.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensor of a name.</summary>
    /// <exception cref="SafeTensorsException">There is none; the message names those that there are.</exception>
    public SafeTensorInfo this[string name] => Find(name)
        ?? throw new SafeTensorsException(
            $"There is no tensor '{name}'; the file has {string.Join(", ", Tensors.Take(8).Select(tensor => tensor.Name))}"
            + (Tensors.Count > 8 ? $" and {Tensors.Count - 8} more." : "."));

    /// <summary>The tensor of a name, or null.</summary>
    public SafeTensorInfo? Find(string name) => _byName.GetValueOrDefault(name);

    /// <summary>Parses a whole file held in memory.</summary>
    /// <exception cref="SafeTensorsException">The file is malformed.</exception>
    public static SafeTensorsHeader Parse(ReadOnlySpan<byte> file) => Parse(file, file.Length);

    /// <summary>Parses the beginning of a file.</summary>
    /// <param name="beginning">The first bytes of the file, at least all of its header (or all of the file).</param>
    /// <param name="fileLength">Length of the file in bytes.</param>
    /// <exception cref="SafeTensorsException">The file is malformed.</exception>
    public static SafeTensorsHeader Parse(ReadOnlySpan<byte> beginning, long fileLength)
    {
        int length = HeaderLength(beginning, fileLength);
        if (beginning.Length < LengthBytes + length)
            throw new SafeTensorsException($"The header has {length} bytes; only {beginning.Length - LengthBytes} were given.");
        ReadOnlySpan<byte> json = beginning.Slice(LengthBytes, length);
        if (json[0] != (byte)'{')
            throw new SafeTensorsException("The header does not begin with '{' at byte 8.");
        return new Parser(json, LengthBytes + (long)length, fileLength).Parse();
    }

    /// <summary>Bytes of the JSON header as the first 8 bytes say, checked against the file's length and the cap.</summary>
    internal static int HeaderLength(ReadOnlySpan<byte> beginning, long fileLength)
    {
        if (fileLength < LengthBytes || beginning.Length < LengthBytes)
        {
            throw new SafeTensorsException(
                $"The file has {Math.Min(fileLength, beginning.Length)} bytes; a header length alone takes {LengthBytes}.");
        }
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(beginning);
        if (length > MaxHeaderBytes)
            throw new SafeTensorsException($"The header is said to have {length} bytes; at most {MaxHeaderBytes} are taken.");
        if (length > (ulong)(fileLength - LengthBytes))
        {
            throw new SafeTensorsException(
                $"The header is said to have {length} bytes; the file ends {fileLength - LengthBytes} bytes after its length.");
        }
        if (length < 2)
            throw new SafeTensorsException($"The header has {length} bytes; an empty one takes 2.");
        return (int)length;
    }

    private ref struct Parser(ReadOnlySpan<byte> json, long dataStart, long fileLength)
    {
        private readonly long _dataStart = dataStart;
        private readonly long _dataLength = fileLength - dataStart;
        private readonly List<SafeTensorInfo> _tensors = [];
        private readonly Dictionary<string, SafeTensorInfo> _byName = [];
        private readonly Dictionary<string, string> _metadata = [];
        private Utf8JsonReader _reader = new(json, new JsonReaderOptions { MaxDepth = 4 });
        private bool _hasMetadata;

        public SafeTensorsHeader Parse()
        {
            try
            {
                Next(JsonTokenType.StartObject, "the header object");
                while (NextName() is { } name)
                {
                    if (name == "__metadata__")
                        ReadMetadata();
                    else
                        ReadTensor(name);
                }
                if (_reader.Read())
                    throw Error("something follows the header object");
            }
            // Not valid JSON, or a string that is not valid UTF-8 or holds half of a surrogate pair.
            catch (Exception exception) when (exception is JsonException or InvalidOperationException)
            {
                throw new SafeTensorsException(
                    $"The header is not valid JSON near byte {LengthBytes + _reader.BytesConsumed}: {exception.Message}",
                    exception);
            }
            CheckRanges();
            return new SafeTensorsHeader(_tensors, _byName, _metadata);
        }

        private void ReadMetadata()
        {
            if (_hasMetadata)
                throw Error("'__metadata__' occurs twice");
            _hasMetadata = true;
            Next(JsonTokenType.StartObject, "an object after '__metadata__'");
            while (NextName() is { } key)
            {
                if (_metadata.Count == MaxEntries)
                    throw Error($"there are more than {MaxEntries} metadata entries");
                Next(JsonTokenType.String, $"a string for metadata '{Short(key)}'");
                if (!_metadata.TryAdd(key, _reader.GetString()!))
                    throw Error($"metadata '{Short(key)}' occurs twice");
            }
        }

        private void ReadTensor(string name)
        {
            if (_tensors.Count == MaxEntries)
                throw Error($"there are more than {MaxEntries} tensors");
            SafeTensorType? type = null;
            long[]? shape = null;
            long[]? offsets = null;
            Next(JsonTokenType.StartObject, $"an object after '{Short(name)}'");
            while (NextName() is { } key)
            {
                switch (key)
                {
                    case "dtype" when type is null:
                        Next(JsonTokenType.String, $"a string for the dtype of '{Short(name)}'");
                        string dtype = _reader.GetString()!;
                        type = SafeTensorTypes.Parse(dtype)
                            ?? throw Error($"tensor '{Short(name)}' has unknown dtype '{Short(dtype)}'");
                        break;
                    case "shape" when shape is null:
                        shape = ReadNumbers(name, "shape", MaxRank);
                        break;
                    case "data_offsets" when offsets is null:
                        offsets = ReadNumbers(name, "data_offsets", 2);
                        if (offsets.Length != 2)
                            throw Error($"data_offsets of '{Short(name)}' has {offsets.Length} entries; it must have 2");
                        break;
                    case "dtype" or "shape" or "data_offsets":
                        throw Error($"'{key}' of tensor '{Short(name)}' occurs twice");
                    default:
                        throw Error($"tensor '{Short(name)}' has unknown field '{Short(key)}'");
                }
            }
            if (type is not { } known || shape is null || offsets is null)
                throw Error($"tensor '{Short(name)}' lacks one of dtype, shape and data_offsets");
            Add(name, known, shape, offsets[0], offsets[1]);
        }

        private void Add(string name, SafeTensorType type, long[] shape, long begin, long end)
        {
            if (end < begin || end > _dataLength)
            {
                throw Error(
                    $"tensor '{Short(name)}' has data_offsets [{begin}, {end}]; the file has {_dataLength} bytes of data");
            }
            long bytes = SafeTensorTypes.Size(type);
            bool empty = Array.IndexOf(shape, 0) >= 0;
            foreach (long size in shape)
            {
                if (!empty && size > _dataLength / bytes)
                {
                    throw Error(
                        $"tensor '{Short(name)}' has more elements than the file has bytes: [{string.Join(", ", shape)}]");
                }
                bytes = empty ? 0 : bytes * size;
            }
            if (bytes != end - begin)
            {
                throw Error(
                    $"tensor '{Short(name)}' is {SafeTensorTypes.Name(type)} [{string.Join(", ", shape)}], "
                    + $"which takes {bytes} bytes, but data_offsets spans {end - begin}");
            }
            var info = new SafeTensorInfo(name, type, shape, _dataStart + begin, bytes);
            if (!_byName.TryAdd(name, info))
                throw Error($"tensor '{Short(name)}' occurs twice");
            _tensors.Add(info);
        }

        private readonly void CheckRanges()
        {
            _tensors.Sort(static (a, b) =>
                a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset) : a.ByteCount.CompareTo(b.ByteCount));
            long end = _dataStart;
            foreach (SafeTensorInfo tensor in _tensors)
            {
                if (tensor.Offset != end)
                {
                    throw new SafeTensorsException(
                        $"Tensor '{Short(tensor.Name)}' begins at byte {tensor.Offset}, "
                        + $"but the tensor before it ends at byte {end}: "
                        + (tensor.Offset > end ? "there is a gap." : "they overlap."));
                }
                end += tensor.ByteCount;
            }
            if (end != _dataStart + _dataLength)
            {
                throw new SafeTensorsException(
                    $"The last tensor ends at byte {end}; {_dataStart + _dataLength - end} bytes follow that belong to none.");
            }
        }

        private long[] ReadNumbers(string name, string field, int most)
        {
            Span<long> numbers = stackalloc long[MaxRank];
            int count = 0;
            Next(JsonTokenType.StartArray, $"an array for {field} of '{Short(name)}'");
            while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
            {
                if (count == most)
                    throw Error($"{field} of '{Short(name)}' has more than {most} entries");
                if (_reader.TokenType != JsonTokenType.Number || !_reader.TryGetInt64(out long number) || number < 0)
                    throw Error($"entry {count} of {field} of '{Short(name)}' is not an integer in [0, 2^63)");
                numbers[count++] = number;
            }
            return numbers[..count].ToArray();
        }

        private void Next(JsonTokenType type, string expected)
        {
            if (!_reader.Read() || _reader.TokenType != type)
                throw Error($"{expected} is missing");
        }

        private string? NextName()
        {
            if (!_reader.Read() || _reader.TokenType == JsonTokenType.EndObject)
                return null;
            return _reader.GetString();
        }

        private readonly SafeTensorsException Error(string what) =>
            new($"In the header at byte {LengthBytes + _reader.TokenStartIndex}: {what}.");

        private static string Short(string text)
        {
            var result = new StringBuilder();
            foreach (char c in text.AsSpan(0, Math.Min(text.Length, 80)))
                result.Append(char.IsControl(c) ? '?' : c);
            return text.Length > 80 ? result.Append("...").ToString() : result.ToString();
        }
    }
}
