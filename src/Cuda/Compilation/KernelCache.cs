using System.Collections.Concurrent;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>A source with its headers and options, ready to be looked up or compiled.</summary>
public sealed record PreparedKernel(
    KernelSource Source, CompileOptions Options, IReadOnlyList<DeviceHeader> Headers, KernelCacheKey Key);

/// <summary>
/// Compiled kernels, in memory and in a private folder: one file an entry, written beside, flushed and renamed, read whole and
/// verified at every load. What does not verify is compiled again. Threads and processes that want the same kernel wait for
/// the one that compiles it, up to a deadline; then they compile for themselves.
/// </summary>
public sealed class KernelCache
{
    internal const string Extension = ".kernel";

    private static readonly Lazy<KernelCache> s_default = new(() => new KernelCache(
        CudaSettings.Current, p => KernelCompiler.Compile(p.Source, p.Headers, p.Options), () => KernelCompiler.Identity));

    private readonly ConcurrentDictionary<KernelCacheKey, Slot> _slots = new();
    private readonly Func<PreparedKernel, CompiledKernel> _compile;
    private readonly Func<string> _compiler;
    private readonly Func<string, FileStreamOptions, FileStream> _open;
    private readonly TimeSpan _deadline;
    private readonly bool _required;
    private long _compilations;
    private long _fileHits;
    private long _rejected;
    private string? _writeFailure;

    internal KernelCache(
        CudaSettings settings, Func<PreparedKernel, CompiledKernel> compile, Func<string> compiler, TimeSpan? deadline = null,
        Func<string, FileStreamOptions, FileStream>? open = null)
    {
        (_compile, _compiler, _required) = (compile, compiler, settings.RequireCache);
        _open = open ?? (static (path, options) => new FileStream(path, options));
        _deadline = deadline ?? TimeSpan.FromMinutes(2);
        string? path = settings.CacheDirectory is { } named ? Path.GetFullPath(named)
            : settings.CacheHome is { } home ? Path.Combine(home, "attncompose")
            : null;
        if (!settings.UseCache)
            Refusal = "it is turned off";
        else if (path is null)
            Refusal = "there is no home folder";
        else
            Refusal = PrivateDirectory.Open(path);
        Directory = settings.UseCache ? path : null;
    }

    /// <summary>The cache of this process, as <see cref="CudaSettings"/> say.</summary>
    public static KernelCache Default => s_default.Value;

    /// <summary>The folder; null where none is wanted.</summary>
    public string? Directory { get; }

    /// <summary>Why the folder is not used; null where it is. Kernels are kept in memory in either case.</summary>
    public string? Refusal { get; }

    /// <summary>Why entries could not be written; null where they could.</summary>
    public string? WriteFailure => Volatile.Read(ref _writeFailure);

    /// <summary>Kernels that were compiled.</summary>
    public long Compilations => Interlocked.Read(ref _compilations);

    /// <summary>Kernels that were taken from files.</summary>
    public long FileHits => Interlocked.Read(ref _fileHits);

    /// <summary>Files that did not verify.</summary>
    public long Rejected => Interlocked.Read(ref _rejected);

    /// <summary>Collects a source's headers and computes its key.</summary>
    public PreparedKernel Prepare(KernelSource source, CompileOptions options)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        return Prepare([source], source, options)[0];
    }

    /// <summary>The same for each program of a source: see <see cref="KernelSource.Programs"/>.</summary>
    internal PreparedKernel[] PreparePrograms(KernelSource source, CompileOptions options) =>
        Prepare(source.Programs(), source, options);

    /// <summary>The compiled kernel where it is in memory or in a file that verifies; else null.</summary>
    internal CompiledKernel? Find(PreparedKernel kernel)
    {
        Slot slot = _slots.GetOrAdd(kernel.Key, static _ => new Slot());
        if (!Monitor.TryEnter(slot))
            return null; // another thread is about to have it
        try
        {
            return slot.Kernel ??= Load(kernel.Key);
        }
        finally
        {
            Monitor.Exit(slot);
        }
    }

    /// <summary>The compiled kernel: from memory, from its file, or compiled now.</summary>
    /// <exception cref="KernelCompilationException">It does not compile, or compiling is not allowed (<see
    /// cref="CudaSettings.RequireCache"/>).</exception>
    public CompiledKernel GetOrCompile(PreparedKernel kernel) => GetOrCompile(kernel, _compile);

    /// <summary>The compiled kernel; where it must be compiled, by a compiler of the caller's.</summary>
    internal CompiledKernel GetOrCompile(PreparedKernel kernel, Func<PreparedKernel, CompiledKernel> compile)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        Slot slot = _slots.GetOrAdd(kernel.Key, static _ => new Slot());
        lock (slot)
            return slot.Kernel ??= Load(kernel.Key) ?? CompileOnce(kernel, compile);
    }

    /// <summary>Compiles by the compiler of this process, without the cache.</summary>
    internal CompiledKernel Compile(PreparedKernel kernel) => _compile(kernel);

    internal string? FileOf(KernelCacheKey key) =>
        Refusal is null && Directory is not null ? Path.Combine(Directory, key.Hash + Extension) : null;

    private PreparedKernel[] Prepare(IReadOnlyList<KernelSource> programs, KernelSource source, CompileOptions options)
    {
        IReadOnlyList<DeviceHeader> headers = DeviceHeaders.Collect(source);
        byte[] hash = KernelCacheKey.HashOf(headers);
        return
        [
            .. programs.Select(program => new PreparedKernel(
                program, options, headers, KernelCacheKey.Compute(program, hash, options, _compiler()))),
        ];
    }

    private CompiledKernel CompileOnce(PreparedKernel kernel, Func<PreparedKernel, CompiledKernel> compile)
    {
        if (_required)
            throw new KernelCompilationException(kernel.Source.Name, $"{kernel.Source.Name} ({kernel.Options}) is not in the kernel cache {Directory}, and ATTNCOMPOSE_REQUIRE_CACHE forbids to compile it.");
        string? file = FileOf(kernel.Key);
        using FileStream? turn = file is null ? null : TakeTurn(file + ".lock");
        if (turn is not null)
        {
            if (Load(kernel.Key) is { } made)
                return made; // by the process that had the turn before
            DeleteLeftovers(file!);
        }
        CompiledKernel compiled = compile(kernel);
        Interlocked.Increment(ref _compilations);
        if (turn is not null)
            Store(file!, KernelCacheEntry.Write(kernel.Key, compiled));
        return compiled;
    }

    private CompiledKernel? Load(KernelCacheKey key)
    {
        if (FileOf(key) is not { } file)
            return null;
        byte[] bytes;
        try
        {
            var info = new FileInfo(file);
            if (!info.Exists)
                return null;
            if (info.LinkTarget is not null)
            {
                Interlocked.Increment(ref _rejected);
                return null;
            }
            bytes = File.ReadAllBytes(file); // never mapped: the file may be replaced while it is used
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
        CompiledKernel? kernel = KernelCacheEntry.Read(key, bytes);
        Interlocked.Increment(ref kernel is null ? ref _rejected : ref _fileHits);
        return kernel;
    }

    /// <summary>
    /// Holds the entry's lock file open for this process alone. The operating system lets go of it when the process ends, so
    /// the file is never deleted. Null where it cannot be had in time, or the folder cannot be written.
    /// </summary>
    private FileStream? TakeTurn(string path)
    {
        long end = Environment.TickCount64 + (long)_deadline.TotalMilliseconds;
        for (int pause = 1; ; pause = Math.Min(2 * pause, 50))
        {
            try
            {
                return _open(path, Options(FileMode.OpenOrCreate));
            }
            catch (IOException) when (File.Exists(path) && Environment.TickCount64 < end)
            {
                Thread.Sleep(pause);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Volatile.Write(ref _writeFailure, e.Message);
                return null;
            }
        }
    }

    private void Store(string file, byte[] bytes)
    {
        string beside = $"{file}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (FileStream stream = _open(beside, Options(FileMode.CreateNew)))
            {
                stream.Write(bytes);
                stream.Flush(flushToDisk: true);
            }
            File.Move(beside, file, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Volatile.Write(ref _writeFailure, e.Message);
            try
            {
                File.Delete(beside);
            }
            catch (Exception again) when (again is IOException or UnauthorizedAccessException)
            {
            }
        }
    }

    /// <summary>
    /// Half-written entries of processes that ended while they had the turn; who has it now is the only one to write.
    /// </summary>
    private static void DeleteLeftovers(string file)
    {
        try
        {
            string pattern = Path.GetFileName(file) + ".*.tmp";
            foreach (string leftover in System.IO.Directory.GetFiles(Path.GetDirectoryName(file)!, pattern))
                File.Delete(leftover);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // They are in nobody's way.
        }
    }

    private static FileStreamOptions Options(FileMode mode)
    {
        var options = new FileStreamOptions { Mode = mode, Access = FileAccess.ReadWrite, Share = FileShare.None };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        return options;
    }

    private sealed class Slot
    {
        public CompiledKernel? Kernel { get; set; }
    }
}
