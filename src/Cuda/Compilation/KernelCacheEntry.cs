using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>
/// A compiled kernel as one file that checks itself. Little-endian: magic (8 bytes), version (4), 0 (4), key (32), lengths of
/// name, architecture, compiler and log (4 each), length of the code (8), SHA-256 of all that is before and after it (32);
/// then name, architecture, compiler, log, code.
/// </summary>
internal static class KernelCacheEntry
{
    public const int HashOffset = 8 + 4 + 4 + 32 + 4 * 4 + 8;
    public const int HeaderBytes = HashOffset + HashBytes;
    private const int HashBytes = SHA256.HashSizeInBytes;
    private const int Version = 1;

    private static ReadOnlySpan<byte> Magic => "ATTNCUBN"u8;

    public static byte[] Write(KernelCacheKey key, CompiledKernel kernel)
    {
        string[] parts = [kernel.Name, kernel.Architecture, kernel.Compiler, kernel.Log];
        byte[][] texts = [.. parts.Select(Encoding.UTF8.GetBytes)];
        var file = new byte[checked(HeaderBytes + texts.Sum(t => t.Length) + kernel.Cubin.Length)];
        Magic.CopyTo(file);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(8), Version);
        Convert.FromHexString(key.Hash).CopyTo(file.AsSpan(16));
        for (int i = 0; i < texts.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(48 + 4 * i), texts[i].Length);
        BinaryPrimitives.WriteInt64LittleEndian(file.AsSpan(64), kernel.Cubin.Length);
        int at = HeaderBytes;
        foreach (byte[] text in texts)
        {
            text.CopyTo(file.AsSpan(at));
            at += text.Length;
        }
        kernel.Cubin.Span.CopyTo(file.AsSpan(at));
        Hash(file, file.AsSpan(HashOffset, HashBytes));
        return file;
    }

    /// <summary>The kernel of a file; null where the file is not whole, not of this key, or not of this version.</summary>
    public static CompiledKernel? Read(KernelCacheKey key, byte[] file)
    {
        if (file.Length < HeaderBytes || !file.AsSpan().StartsWith(Magic)
            || BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(8)) != Version
            || !file.AsSpan(16, 32).SequenceEqual(Convert.FromHexString(key.Hash)))
            return null;
        Span<byte> hash = stackalloc byte[HashBytes];
        Hash(file, hash);
        if (!hash.SequenceEqual(file.AsSpan(HashOffset, HashBytes)))
            return null;
        // The hash holds, so these are the lengths that were written; they are checked all the same before they are used.
        Span<int> lengths = stackalloc int[4];
        long end = HeaderBytes;
        for (int i = 0; i < lengths.Length; i++)
        {
            lengths[i] = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(48 + 4 * i));
            if (lengths[i] < 0)
                return null;
            end += lengths[i];
        }
        long code = BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(64));
        if (code < 0 || code > file.Length || end + code != file.Length)
            return null;
        var texts = new string[4];
        int at = HeaderBytes;
        for (int i = 0; i < texts.Length; i++)
        {
            texts[i] = Encoding.UTF8.GetString(file, at, lengths[i]);
            at += lengths[i];
        }
        return new CompiledKernel(texts[0], texts[1], texts[2], file.AsMemory(at), texts[3]);
    }

    private static void Hash(byte[] file, Span<byte> destination)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(file, 0, HashOffset);
        hash.AppendData(file.AsSpan(HeaderBytes));
        hash.GetHashAndReset(destination);
    }
}
