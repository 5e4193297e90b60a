using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>
/// What device code says of its kernels, read from the ELF file: parameters from <c>.nv.info.&lt;kernel&gt;</c>, launch shape
/// from the exported variable. With it, launch code is checked against kernels, and kernels are reported, without a GPU.
/// </summary>
internal static class CubinFile
{
    private const byte SizedValue = 4;
    private const byte ParameterInfo = 0x17;

    /// <summary>Every kernel by name; the shape is null where none is exported.</summary>
    public static Dictionary<string, (LaunchShape? Shape, (int Offset, int Bytes)[] Parameters)> Kernels(ReadOnlySpan<byte> elf)
    {
        List<(string Name, int Type, int Offset, int Bytes)> sections = Sections(elf);
        Dictionary<string, (int Offset, int Bytes)> variables = Variables(elf, sections);
        var kernels = new Dictionary<string, (LaunchShape?, (int, int)[])>();
        foreach (var section in sections)
        {
            const string Prefix = ".nv.info.";
            if (!section.Name.StartsWith(Prefix, StringComparison.Ordinal))
                continue;
            string name = section.Name[Prefix.Length..];
            bool isThere = variables.TryGetValue(name + "_shape", out var at) && at.Bytes == Unsafe.SizeOf<LaunchShape>();
            LaunchShape? shape = isThere
                ? MemoryMarshal.Read<LaunchShape>(elf.Slice(at.Offset, at.Bytes))
                : null;
            kernels.Add(name, (shape, Parameters(elf.Slice(section.Offset, section.Bytes))));
        }
        return kernels;
    }

    /// <summary>What a device variable holds before anything runs.</summary>
    public static ReadOnlySpan<byte> Variable(ReadOnlySpan<byte> elf, string name)
    {
        (int offset, int bytes) = Variables(elf, Sections(elf))[name];
        return elf.Slice(offset, bytes);
    }

    private static (int Offset, int Bytes)[] Parameters(ReadOnlySpan<byte> info)
    {
        var parameters = new SortedDictionary<int, (int, int)>();
        while (info.Length >= 4)
        {
            int bytes = info[0] == SizedValue ? BinaryPrimitives.ReadUInt16LittleEndian(info[2..]) : 0;
            if (info[0] == SizedValue && info[1] == ParameterInfo)
            {
                // Index (4), ordinal (2), offset (2), flags (4) whose upper 14 bits are the size.
                ReadOnlySpan<byte> value = info.Slice(4, bytes);
                parameters.Add(
                    BinaryPrimitives.ReadUInt16LittleEndian(value[4..]),
                    (BinaryPrimitives.ReadUInt16LittleEndian(value[6..]), (int)(BinaryPrimitives.ReadUInt32LittleEndian(value[8..]) >> 18)));
            }
            info = info[(4 + bytes)..];
        }
        return [.. parameters.Values];
    }

    private static List<(string Name, int Type, int Offset, int Bytes)> Sections(ReadOnlySpan<byte> elf)
    {
        int table = (int)BinaryPrimitives.ReadInt64LittleEndian(elf[40..]);
        int entryBytes = BinaryPrimitives.ReadUInt16LittleEndian(elf[58..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(elf[60..]);
        int names = BinaryPrimitives.ReadUInt16LittleEndian(elf[62..]);
        int namesAt = (int)BinaryPrimitives.ReadInt64LittleEndian(elf[(table + names * entryBytes + 24)..]);
        var sections = new List<(string, int, int, int)>();
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> entry = elf.Slice(table + i * entryBytes, entryBytes);
            sections.Add((
                Text(elf, namesAt + BinaryPrimitives.ReadInt32LittleEndian(entry)),
                BinaryPrimitives.ReadInt32LittleEndian(entry[4..]),
                (int)BinaryPrimitives.ReadInt64LittleEndian(entry[24..]),
                (int)BinaryPrimitives.ReadInt64LittleEndian(entry[32..])));
        }
        return sections;
    }

    private static Dictionary<string, (int Offset, int Bytes)> Variables(
        ReadOnlySpan<byte> elf, List<(string Name, int Type, int Offset, int Bytes)> sections)
    {
        const int SymbolTable = 2, SymbolBytes = 24, DataObject = 1;
        var variables = new Dictionary<string, (int, int)>();
        var symbols = sections.Single(section => section.Type == SymbolTable);
        var names = sections.Single(section => section.Name == ".strtab");
        for (int at = symbols.Offset; at < symbols.Offset + symbols.Bytes; at += SymbolBytes)
        {
            ReadOnlySpan<byte> symbol = elf.Slice(at, SymbolBytes);
            if ((symbol[4] & 0xF) != DataObject)
                continue;
            int section = BinaryPrimitives.ReadUInt16LittleEndian(symbol[6..]);
            variables[Text(elf, names.Offset + BinaryPrimitives.ReadInt32LittleEndian(symbol))] = (
                sections[section].Offset + (int)BinaryPrimitives.ReadInt64LittleEndian(symbol[8..]),
                (int)BinaryPrimitives.ReadInt64LittleEndian(symbol[16..]));
        }
        return variables;
    }

    private static string Text(ReadOnlySpan<byte> elf, int at) => Encoding.UTF8.GetString(elf.Slice(at, elf[at..].IndexOf((byte)0)));
}
