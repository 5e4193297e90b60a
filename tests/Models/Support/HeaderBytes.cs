using System.Buffers.Binary;
using System.Text;

namespace AttnCompose.Models.Tests;

/// <summary>Puts safetensors files together from the text of a header, right or wrong.</summary>
internal static class HeaderBytes
{
    public static byte[] File(string header, int dataBytes) => File(Encoding.UTF8.GetBytes(header), dataBytes);

    public static byte[] File(byte[] header, int dataBytes)
    {
        var file = new byte[8 + header.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(file, (ulong)header.Length);
        header.CopyTo(file, 8);
        for (int i = 8 + header.Length; i < file.Length; i++)
            file[i] = (byte)(i * 37);
        return file;
    }

    /// <summary>A valid header of up to six tensors, in any order, and the bytes of data that it speaks of.</summary>
    public static (string Header, int DataBytes) Valid(Random random)
    {
        (string Name, int Size)[] types =
            [("F32", 4), ("F16", 2), ("BF16", 2), ("I32", 4), ("I64", 8), ("U8", 1), ("BOOL", 1), ("F64", 8)];
        var entries = new List<string>();
        int offset = 0;
        int count = random.Next(0, 7);
        for (int i = 0; i < count; i++)
        {
            (string name, int size) = types[random.Next(types.Length)];
            int[] shape = [.. Enumerable.Range(0, random.Next(0, 4)).Select(_ => random.Next(0, 5))];
            int bytes = shape.Aggregate(size, (product, length) => product * length);
            entries.Add($$"""
                "t{{i}}":{"dtype":"{{name}}","shape":[{{string.Join(',', shape)}}],"data_offsets":[{{offset}},{{offset + bytes}}]}
                """);
            offset += bytes;
        }
        if (random.Next(3) == 0)
            entries.Add("\"__metadata__\":{\"format\":\"pt\",\"note\":\"a \\u00e9 b\"}");
        string[] order = [.. entries];
        random.Shuffle(order);
        return ($"{{{string.Join(',', order)}}}{new string(' ', random.Next(0, 3))}", offset);
    }
}
