using System.IO.MemoryMappedFiles;
using AttnCompose.Cpu;

namespace AttnCompose.Models;

/// <summary>
/// A safetensors file, mapped into memory: opening reads the header only, and tensors of any size can be addressed. The file
/// must not be changed or cut while it is open, and spans are valid until <see cref="Dispose"/>.
/// </summary>
public sealed unsafe class SafeTensorsFile : IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _bytes;

    private SafeTensorsFile(
        string path, SafeTensorsHeader header, MemoryMappedFile file, MemoryMappedViewAccessor view, byte* bytes)
    {
        (Path, Header, _file, _view) = (path, header, file, view);
        _bytes = bytes;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Tensors and metadata.</summary>
    public SafeTensorsHeader Header { get; }

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="SafeTensorsException">The file cannot be read or is malformed.</exception>
    public static SafeTensorsFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        FileStream? stream = null;
        MemoryMappedFile? file = null;
        MemoryMappedViewAccessor? view = null;
        byte* bytes = null;
        try
        {
            stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            long length = stream.Length;
            if (length < SafeTensorsHeader.LengthBytes) // an empty file cannot be mapped
                SafeTensorsHeader.HeaderLength([], length);
            file = MemoryMappedFile.CreateFromFile(
                stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref bytes);
            bytes += view.PointerOffset;
            int beginning = (int)Math.Min(length, SafeTensorsHeader.LengthBytes + (long)SafeTensorsHeader.MaxHeaderBytes);
            var header = SafeTensorsHeader.Parse(new ReadOnlySpan<byte>(bytes, beginning), length);
            return new SafeTensorsFile(path, header, file, view, bytes);
        }
        catch (Exception exception)
        {
            if (bytes != null)
                view!.SafeMemoryMappedViewHandle.ReleasePointer();
            view?.Dispose();
            file?.Dispose();
            stream?.Dispose();
            throw exception switch
            {
                SafeTensorsException malformed => malformed.InFile(path),
                FileNotFoundException or DirectoryNotFoundException =>
                    new SafeTensorsException($"{path}: there is no such file.", exception),
                IOException or UnauthorizedAccessException or NotSupportedException =>
                    new SafeTensorsException($"{path}: cannot be read: {exception.Message}", exception),
                _ => exception,
            };
        }
    }

    /// <summary>All elements of a tensor.</summary>
    /// <exception cref="SafeTensorsException">
    /// There is no such tensor, its type is another, or it has more than 2^31 - 1 elements.
    /// </exception>
    public ReadOnlySpan<T> Span<T>(string name) where T : unmanaged
    {
        SafeTensorInfo info = Info(name);
        if (info.ElementCount > int.MaxValue)
        {
            throw new SafeTensorsException(
                $"{Path}: {info} has {info.ElementCount} elements; take it in parts of at most {int.MaxValue}.");
        }
        return Span<T>(name, 0, (int)info.ElementCount);
    }

    /// <summary>
    /// Some elements of a tensor, in row-major order. The span is not aligned to its element where the file does not align the
    /// tensor.
    /// </summary>
    /// <exception cref="SafeTensorsException">
    /// There is no such tensor, its type is another, or the range lies outside it.
    /// </exception>
    public ReadOnlySpan<T> Span<T>(string name, long start, int count) where T : unmanaged
    {
        SafeTensorInfo info = Info(name);
        if (SafeTensorTypes.Of<T>() != info.Type)
            throw new SafeTensorsException($"{Path}: {info} was asked for as {typeof(T).Name}.");
        if (start < 0 || count < 0 || start > info.ElementCount - count)
            throw new SafeTensorsException($"{Path}: {info} has no elements [{start}, {start + count}).");
        return new ReadOnlySpan<T>(_bytes + info.Offset + start * sizeof(T), count);
    }

    /// <summary>Elements of an F32, F16 or BF16 tensor as float32, exactly.</summary>
    /// <exception cref="SafeTensorsException">
    /// There is no such tensor, it is of another type, or the range lies outside it.
    /// </exception>
    public void CopyAsFloat(string name, long start, Span<float> destination)
    {
        switch (Info(name).Type)
        {
            case SafeTensorType.F32:
                Span<float>(name, start, destination.Length).CopyTo(destination);
                break;
            case SafeTensorType.F16:
                ElementConvert.ToFloat(Span<Half>(name, start, destination.Length), destination);
                break;
            case SafeTensorType.BF16:
                ElementConvert.ToFloat(Span<BFloat16>(name, start, destination.Length), destination);
                break;
            default:
                throw new SafeTensorsException($"{Path}: {Info(name)} is not of type F32, F16 or BF16.");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_bytes == null)
            return;
        _bytes = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    private SafeTensorInfo Info(string name)
    {
        ObjectDisposedException.ThrowIf(_bytes == null, this);
        try
        {
            return Header[name];
        }
        catch (SafeTensorsException missing)
        {
            throw missing.InFile(Path);
        }
    }
}
