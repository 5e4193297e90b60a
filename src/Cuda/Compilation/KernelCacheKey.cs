using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>
/// SHA-256 of everything that a compiled kernel depends on: text, the hash of its headers by name in order, options with the
/// architecture, the compiler, and the version of what wrote the text. No time, path or machine goes in.
/// </summary>
/// <param name="Hash">64 lowercase hexadecimal digits.</param>
public readonly record struct KernelCacheKey(string Hash)
{
    private const string Scheme = "AttnCompose kernel 2";

    /// <summary>The key of a source.</summary>
    /// <param name="source">The text.</param>
    /// <param name="headers">Its headers, ordered by name.</param>
    /// <param name="options">The options.</param>
    /// <param name="compiler">What compiles it, such as <c>NVRTC 12.4 60409520</c>.</param>
    public static KernelCacheKey Compute(
        KernelSource source, IReadOnlyList<DeviceHeader> headers, CompileOptions options, string compiler)
    {
        ArgumentNullException.ThrowIfNull(headers);
        return Compute(source, HashOf(headers), options, compiler);
    }

    /// <summary>The key of a source, by the hash of its headers, which many programs share.</summary>
    internal static KernelCacheKey Compute(
        KernelSource source, ReadOnlySpan<byte> headers, CompileOptions options, string compiler)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(hash, Scheme);
        Add(hash, compiler);
        Add(hash, source.GeneratorVersion);
        Add(hash, source.Name);
        Add(hash, source.CudaText);
        hash.AppendData(headers);
        IReadOnlyList<string> arguments = options.ToArguments();
        AddCount(hash, arguments.Count);
        foreach (string argument in arguments)
            Add(hash, argument);
        return new(Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    /// <summary>The hash of headers, names and texts.</summary>
    internal static byte[] HashOf(IReadOnlyList<DeviceHeader> headers)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        AddCount(hash, headers.Count);
        foreach (DeviceHeader header in headers)
        {
            Add(hash, header.Name);
            Add(hash, header.Text);
        }
        return hash.GetHashAndReset();
    }

    /// <inheritdoc/>
    public override string ToString() => Hash;

    // Every text with its length before it, so that no two lists of texts give the same bytes.
    private static void Add(IncrementalHash hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        AddCount(hash, bytes.Length);
        hash.AppendData(bytes);
    }

    private static void AddCount(IncrementalHash hash, int count)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, count);
        hash.AppendData(bytes);
    }
}
