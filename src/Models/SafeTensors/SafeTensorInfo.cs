namespace AttnCompose.Models;

/// <summary>Element types of the safetensors format whose elements are whole bytes.</summary>
public enum SafeTensorType
{
    /// <summary>One byte, 0 or 1.</summary>
    Bool,

    /// <summary>Unsigned 8-bit integer.</summary>
    U8,

    /// <summary>Signed 8-bit integer.</summary>
    I8,

    /// <summary>8-bit float, 4 exponent and 3 fraction bits.</summary>
    F8E4M3,

    /// <summary>8-bit float, 5 exponent and 2 fraction bits.</summary>
    F8E5M2,

    /// <summary>8-bit power of two (block scales).</summary>
    F8E8M0,

    /// <summary>Signed 16-bit integer.</summary>
    I16,

    /// <summary>Unsigned 16-bit integer.</summary>
    U16,

    /// <summary>IEEE binary16.</summary>
    F16,

    /// <summary>bfloat16.</summary>
    BF16,

    /// <summary>Signed 32-bit integer.</summary>
    I32,

    /// <summary>Unsigned 32-bit integer.</summary>
    U32,

    /// <summary>IEEE binary32.</summary>
    F32,

    /// <summary>Signed 64-bit integer.</summary>
    I64,

    /// <summary>Unsigned 64-bit integer.</summary>
    U64,

    /// <summary>IEEE binary64.</summary>
    F64,
}

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">Name.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Sizes, slowest first; empty for a scalar. Every size and the product fit in 63 bits.</param>
/// <param name="Offset">First byte, counted from the start of the file.</param>
/// <param name="ByteCount">Bytes; equals the product of <paramref name="Shape"/> times the element size.</param>
public sealed record SafeTensorInfo(string Name, SafeTensorType Type, IReadOnlyList<long> Shape, long Offset, long ByteCount)
{
    /// <summary>Number of elements.</summary>
    public long ElementCount => ByteCount / SafeTensorTypes.Size(Type);

    /// <inheritdoc/>
    public override string ToString() => $"{Name} {SafeTensorTypes.Name(Type)} [{string.Join(", ", Shape)}]";
}

/// <summary>Names, sizes and C# types of the element types.</summary>
internal static class SafeTensorTypes
{
    private static readonly (SafeTensorType Type, string Name, int Size)[] Known =
    [
        (SafeTensorType.Bool, "BOOL", 1), (SafeTensorType.U8, "U8", 1), (SafeTensorType.I8, "I8", 1),
        (SafeTensorType.F8E4M3, "F8_E4M3", 1), (SafeTensorType.F8E5M2, "F8_E5M2", 1), (SafeTensorType.F8E8M0, "F8_E8M0", 1),
        (SafeTensorType.I16, "I16", 2), (SafeTensorType.U16, "U16", 2), (SafeTensorType.F16, "F16", 2),
        (SafeTensorType.BF16, "BF16", 2), (SafeTensorType.I32, "I32", 4), (SafeTensorType.U32, "U32", 4),
        (SafeTensorType.F32, "F32", 4), (SafeTensorType.I64, "I64", 8), (SafeTensorType.U64, "U64", 8),
        (SafeTensorType.F64, "F64", 8),
    ];

    public static int Size(SafeTensorType type) => Known[(int)type].Size;

    public static string Name(SafeTensorType type) => Known[(int)type].Name;

    public static SafeTensorType? Parse(string name)
    {
        foreach (var known in Known)
        {
            if (known.Name == name)
                return known.Type;
        }
        return null;
    }

    /// <summary>The format's type of a C# type; null where there is none.</summary>
    public static SafeTensorType? Of<T>() =>
        typeof(T) == typeof(float) ? SafeTensorType.F32
        : typeof(T) == typeof(Half) ? SafeTensorType.F16
        : typeof(T) == typeof(BFloat16) ? SafeTensorType.BF16
        : typeof(T) == typeof(int) ? SafeTensorType.I32
        : typeof(T) == typeof(long) ? SafeTensorType.I64
        : null;
}
