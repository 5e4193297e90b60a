using System.Text;

namespace AttnCompose.Cuda.Tests.Compilation;

public sealed class KernelCacheTests
{
    private static readonly byte[] s_code = [.. Enumerable.Range(0, 700).Select(i => (byte)(i * 31))];

    private int _compiled;

    private KernelCache Cache(string? directory, bool use = true, bool required = false, TimeSpan? deadline = null) => new(
        new CudaSettings { UseCache = use, CacheDirectory = directory, RequireCache = required },
        kernel =>
        {
            Interlocked.Increment(ref _compiled);
            return Compiled(kernel.Source.Name);
        },
        () => "compiler 1", deadline);

    private static CompiledKernel Compiled(string name) => new(name, "sm_80", "12.4", s_code, "a log of \u00e9");

    private static PreparedKernel Prepare(KernelCache cache, string text = "text") => cache.Prepare(new KernelSource("k", text, []), Sources.Sm80);

    private static void AssertWhole(CompiledKernel kernel)
    {
        Assert.Equal(s_code, kernel.Cubin.ToArray());
        Assert.Equal(("k", "sm_80", "12.4", "a log of \u00e9"), (kernel.Name, kernel.Architecture, kernel.Compiler, kernel.Log));
    }

    /// <summary>A folder with one entry in it.</summary>
    private (KernelCache Cache, PreparedKernel Kernel, string File) Filled(TemporaryFolder folder)
    {
        KernelCache cache = Cache(folder.Join("cache"));
        Assert.Null(cache.Refusal);
        PreparedKernel kernel = Prepare(cache);
        AssertWhole(cache.GetOrCompile(kernel));
        Assert.Equal(1, cache.Compilations);
        return (cache, kernel, cache.FileOf(kernel.Key)!);
    }

    /// <summary>A new cache over the same folder compiles again, and leaves a good entry behind.</summary>
    private void AssertCompiledAgain(string file, PreparedKernel kernel, int rejected = 1)
    {
        KernelCache again = Cache(Path.GetDirectoryName(file));
        AssertWhole(again.GetOrCompile(kernel));
        Assert.Equal((1, 0), (again.Compilations, again.FileHits));
        Assert.True(again.Rejected >= rejected);
        KernelCache third = Cache(Path.GetDirectoryName(file));
        AssertWhole(third.GetOrCompile(kernel));
        Assert.Equal((0, 1, 0), (third.Compilations, third.FileHits, third.Rejected));
    }

    [Fact]
    public void A_kernel_is_compiled_once_and_then_comes_from_memory_and_from_its_file()
    {
        using var folder = new TemporaryFolder();
        var (cache, kernel, file) = Filled(folder);
        cache.GetOrCompile(kernel);
        Assert.Equal((1, 0), (cache.Compilations, cache.FileHits));

        KernelCache next = Cache(folder.Join("cache"));
        AssertWhole(next.GetOrCompile(kernel));
        Assert.Equal((0, 1), (next.Compilations, next.FileHits));
        Assert.True(File.Exists(file));
        Assert.Empty(Directory.GetFiles(folder.Join("cache"), "*.tmp"));
    }

    [UnixFact]
    public void Folder_and_files_are_private()
    {
        if (OperatingSystem.IsWindows())
            return; // for the analyzer: the attribute skips it there
        using var folder = new TemporaryFolder();
        var (_, _, file) = Filled(folder);
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(file)!));
        foreach (string each in Directory.GetFiles(Path.GetDirectoryName(file)!))
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(each));
    }

    [Fact]
    public void Off_writes_nothing_and_memory_still_serves()
    {
        using var folder = new TemporaryFolder();
        KernelCache cache = Cache(folder.Join("cache"), use: false);
        PreparedKernel kernel = Prepare(cache);
        cache.GetOrCompile(kernel);
        cache.GetOrCompile(kernel);
        Assert.Equal(1, cache.Compilations);
        Assert.Equal("it is turned off", cache.Refusal);
        Assert.False(Directory.Exists(folder.Join("cache")));
    }

    [Fact]
    public void A_required_cache_refuses_to_compile()
    {
        using var folder = new TemporaryFolder();
        KernelCache cache = Cache(folder.Join("cache"), required: true);
        var e = Assert.Throws<KernelCompilationException>(() => cache.GetOrCompile(Prepare(cache)));
        Assert.Contains("ATTNCOMPOSE_REQUIRE_CACHE", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, _compiled);
    }

    [Fact]
    public void Five_hundred_flipped_bits_are_all_noticed()
    {
        const int Seed = 20260203;
        KernelCacheKey key = Prepare(Cache(null, use: false)).Key;
        byte[] file = KernelCacheEntry.Write(key, Compiled("k"));
        var random = new Random(Seed);
        AssertWhole(KernelCacheEntry.Read(key, file)!);
        // Every bit of the header, and bits from all over the rest.
        int[] bits = [.. Enumerable.Range(0, 8 * KernelCacheEntry.HeaderBytes), .. Enumerable.Range(0, 500).Select(_ => random.Next(8 * file.Length))];
        foreach (int bit in bits)
        {
            byte[] damaged = [.. file];
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.True(KernelCacheEntry.Read(key, damaged) is null, $"bit {bit} of {file.Length} bytes, seed {Seed}");
        }
    }

    [Fact]
    public void Every_truncation_and_every_tail_is_noticed()
    {
        KernelCacheKey key = Prepare(Cache(null, use: false)).Key;
        byte[] file = KernelCacheEntry.Write(key, Compiled("k"));
        for (int length = 0; length < file.Length; length++)
            Assert.True(KernelCacheEntry.Read(key, file[..length]) is null, $"{length} of {file.Length} bytes");
        Assert.Null(KernelCacheEntry.Read(key, [.. file, 0]));
    }

    [Fact]
    public void Lengths_that_lie_under_a_valid_hash_are_noticed()
    {
        KernelCacheKey key = Prepare(Cache(null, use: false)).Key;
        byte[] file = KernelCacheEntry.Write(key, Compiled("k"));
        for (int field = 48; field < 72; field += 4)
        {
            foreach (int lie in new[] { -1, int.MinValue, int.MaxValue, file.Length, 1 << 20 })
            {
                byte[] forged = [.. file];
                BitConverter.TryWriteBytes(forged.AsSpan(field), lie);
                byte[] body = [.. forged[..KernelCacheEntry.HashOffset], .. forged[KernelCacheEntry.HeaderBytes..]];
                System.Security.Cryptography.SHA256.HashData(body).CopyTo(forged, KernelCacheEntry.HashOffset);
                Assert.True(KernelCacheEntry.Read(key, forged) is null, $"{lie} at {field}");
            }
        }
    }

    [Theory]
    [InlineData("empty")]
    [InlineData("truncated")]
    [InlineData("damaged")]
    [InlineData("text")]
    [InlineData("zeros")]
    public void A_file_that_does_not_verify_is_compiled_again(string damage)
    {
        using var folder = new TemporaryFolder();
        var (_, kernel, file) = Filled(folder);
        byte[] good = File.ReadAllBytes(file);
        File.WriteAllBytes(file, damage switch
        {
            "empty" => [],
            "truncated" => good[..(good.Length / 2)],
            "damaged" => [.. good[..^1], (byte)(good[^1] ^ 0x40)],
            "text" => Encoding.UTF8.GetBytes("not a kernel"),
            _ => new byte[good.Length],
        });
        AssertCompiledAgain(file, kernel);
    }

    [Fact]
    public void An_entry_of_another_key_under_this_name_is_compiled_again()
    {
        using var folder = new TemporaryFolder();
        var (cache, kernel, file) = Filled(folder);
        PreparedKernel other = Prepare(cache, "other text");
        cache.GetOrCompile(other);
        File.Copy(cache.FileOf(other.Key)!, file, overwrite: true);
        AssertCompiledAgain(file, kernel);
    }

    [UnixFact]
    public void An_entry_that_is_a_link_is_compiled_again()
    {
        using var folder = new TemporaryFolder();
        var (_, kernel, file) = Filled(folder);
        string elsewhere = folder.Join("elsewhere");
        File.Move(file, elsewhere);
        File.CreateSymbolicLink(file, elsewhere);
        AssertCompiledAgain(file, kernel);
        Assert.Null(new FileInfo(file).LinkTarget);
    }

    [Fact]
    public void A_folder_in_the_place_of_an_entry_is_survived()
    {
        using var folder = new TemporaryFolder();
        var (_, kernel, file) = Filled(folder);
        File.Delete(file);
        Directory.CreateDirectory(file);
        KernelCache again = Cache(Path.GetDirectoryName(file));
        AssertWhole(again.GetOrCompile(kernel));
        Assert.NotNull(again.WriteFailure);
    }

    [Fact]
    public void A_file_in_the_place_of_the_folder_is_refused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.Join("cache"), "");
        KernelCache cache = Cache(folder.Join("cache"));
        Assert.NotNull(cache.Refusal);
        AssertWhole(cache.GetOrCompile(Prepare(cache)));
    }

    [UnixFact]
    public void A_folder_that_others_can_write_is_refused()
    {
        if (OperatingSystem.IsWindows())
            return;
        foreach (UnixFileMode open in new[] { UnixFileMode.GroupWrite, UnixFileMode.OtherWrite })
        {
            using var folder = new TemporaryFolder();
            var (_, kernel, file) = Filled(folder);
            File.SetUnixFileMode(folder.Join("cache"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | open);
            KernelCache cache = Cache(folder.Join("cache"));
            Assert.Contains("others can write it", cache.Refusal, StringComparison.Ordinal);
            AssertWhole(cache.GetOrCompile(kernel)); // compiled, though a file lies there
            Assert.Equal((1, 0), (cache.Compilations, cache.FileHits));
            Assert.True(File.Exists(file));
        }
    }

    [UnixFact]
    public void A_folder_below_one_that_everybody_can_write_is_refused()
    {
        if (OperatingSystem.IsWindows())
            return;
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.Join("open"));
        File.SetUnixFileMode(folder.Join("open"), (UnixFileMode)0b111_111_111);
        Assert.Contains("everybody can write", Cache(folder.Join("open", "cache")).Refusal, StringComparison.Ordinal);
        File.SetUnixFileMode(folder.Join("open"), (UnixFileMode)0b111_111_111 | UnixFileMode.StickyBit); // as /tmp is
        Assert.Null(Cache(folder.Join("open", "cache")).Refusal);
    }

    [UnixFact]
    public void A_folder_reached_through_a_link_is_refused()
    {
        using var folder = new TemporaryFolder();
        Filled(folder);
        Directory.CreateSymbolicLink(folder.Join("link"), folder.Join("cache"));
        Assert.Equal("it is a symbolic link", Cache(folder.Join("link")).Refusal);
        Assert.Equal("it is a symbolic link", Cache(folder.Join("link") + "/").Refusal);
        Directory.CreateSymbolicLink(folder.Join("dangling"), folder.Join("nowhere"));
        Assert.NotNull(Cache(folder.Join("dangling")).Refusal);
    }

    [UnixFact]
    public void A_folder_that_cannot_be_written_still_serves_what_is_in_it()
    {
        if (OperatingSystem.IsWindows())
            return;
        using var folder = new TemporaryFolder();
        var (_, kernel, _) = Filled(folder);
        File.SetUnixFileMode(folder.Join("cache"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        KernelCache cache = Cache(folder.Join("cache"));
        AssertWhole(cache.GetOrCompile(kernel));
        Assert.Equal((0, 1), (cache.Compilations, cache.FileHits));
        AssertWhole(cache.GetOrCompile(Prepare(cache, "another text"))); // compiled whether it can be stored or not
    }

    [Theory]
    [InlineData(".lock")]
    [InlineData(".tmp")]
    public void A_disk_that_is_full_leaves_no_entry_and_the_kernel_serves(string file)
    {
        using var folder = new TemporaryFolder();
        var cache = new KernelCache(
            new CudaSettings { CacheDirectory = folder.Join("cache") }, kernel => Compiled(kernel.Source.Name), () => "compiler 1", deadline: null,
            (path, options) => path.EndsWith(file, StringComparison.Ordinal) ? new FullDisk(path, options) : new FileStream(path, options));
        PreparedKernel kernel = Prepare(cache);
        AssertWhole(cache.GetOrCompile(kernel));
        AssertWhole(cache.GetOrCompile(kernel));
        Assert.Equal(1, cache.Compilations);
        Assert.Contains("No space left", cache.WriteFailure, StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.GetFiles(folder.Join("cache")), path => !path.EndsWith(".lock", StringComparison.Ordinal));
        KernelCache later = Cache(folder.Join("cache")); // there is room again
        AssertWhole(later.GetOrCompile(kernel));
        Assert.Null(later.WriteFailure);
        Assert.True(File.Exists(later.FileOf(kernel.Key)));
    }

    /// <summary>A file on a disk that is full: a lock cannot be made, other files hold less than was written.</summary>
    private sealed class FullDisk : FileStream
    {
        public FullDisk(string path, FileStreamOptions options)
            : base(path, options)
        {
            if (!path.EndsWith(".lock", StringComparison.Ordinal))
                return;
            Dispose();
            File.Delete(path);
            throw new IOException("No space left on device");
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            base.Write(buffer[..10]);
            throw new IOException("No space left on device");
        }
    }

    [Fact]
    public async Task Threads_that_want_the_same_kernel_compile_it_once()
    {
        using var folder = new TemporaryFolder();
        KernelCache cache = Cache(folder.Join("cache"));
        PreparedKernel kernel = Prepare(cache);
        CompiledKernel[] all = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(() => cache.GetOrCompile(kernel))));
        Assert.Equal(1, _compiled);
        Assert.All(all, each => Assert.Same(all[0], each));
    }

    [Fact]
    public async Task Caches_over_one_folder_compile_once_as_processes_do()
    {
        // Two caches share nothing but the folder and its lock files, which is all that two processes share.
        using var folder = new TemporaryFolder();
        string path = folder.Join("cache");
        KernelCache[] caches = [.. Enumerable.Range(0, 8).Select(_ => new KernelCache(
            new CudaSettings { CacheDirectory = path },
            kernel =>
            {
                Interlocked.Increment(ref _compiled);
                Thread.Sleep(100); // long enough for all of them to be waiting
                return Compiled(kernel.Source.Name);
            },
            () => "compiler 1"))];
        PreparedKernel kernel = Prepare(caches[0]);
        CompiledKernel[] all = await Task.WhenAll(caches.Select(cache => Task.Run(() => cache.GetOrCompile(kernel))));
        Assert.All(all, AssertWhole);
        Assert.Equal(1, _compiled);
        Assert.Equal(7, caches.Sum(cache => cache.FileHits));
    }

    [Fact]
    public void When_the_turn_does_not_come_the_kernel_is_compiled_privately()
    {
        using var folder = new TemporaryFolder();
        KernelCache cache = Cache(folder.Join("cache"), deadline: TimeSpan.FromMilliseconds(50));
        PreparedKernel kernel = Prepare(cache);
        string file = cache.FileOf(kernel.Key)!;
        using (new FileStream(file + ".lock", FileMode.Create, FileAccess.ReadWrite, FileShare.None))
            AssertWhole(cache.GetOrCompile(kernel));
        Assert.Equal(1, cache.Compilations);
        Assert.False(File.Exists(file));
    }

    [Fact]
    public void A_lock_file_that_a_dead_process_left_holds_nobody_up()
    {
        using var folder = new TemporaryFolder();
        KernelCache cache = Cache(folder.Join("cache"), deadline: TimeSpan.FromMinutes(5));
        PreparedKernel kernel = Prepare(cache);
        File.WriteAllText(cache.FileOf(kernel.Key) + ".lock", "");
        AssertWhole(cache.GetOrCompile(kernel));
        Assert.True(File.Exists(cache.FileOf(kernel.Key)));
    }

    [Fact]
    public void A_compilation_that_fails_is_tried_again_and_leaves_no_entry()
    {
        using var folder = new TemporaryFolder();
        int calls = 0;
        var cache = new KernelCache(
            new CudaSettings { CacheDirectory = folder.Join("cache") },
            kernel => ++calls == 1 ? throw new KernelCompilationException("k", "options", "log") : Compiled("k"),
            () => "compiler 1");
        PreparedKernel kernel = Prepare(cache);
        Assert.Throws<KernelCompilationException>(() => cache.GetOrCompile(kernel));
        Assert.False(File.Exists(cache.FileOf(kernel.Key)));
        AssertWhole(cache.GetOrCompile(kernel));
    }

    [NvrtcFact]
    public void What_the_compiler_made_survives_the_file()
    {
        using var folder = new TemporaryFolder();
        KernelCache Real() => new(
            new CudaSettings { CacheDirectory = folder.Join("cache") },
            p => KernelCompiler.Compile(p.Source, p.Headers, p.Options), () => KernelCompiler.Identity);
        KernelCache first = Real();
        PreparedKernel kernel = first.Prepare(Sources.Scale, Sources.Sm90 with { Verbose = true });
        CompiledKernel made = first.GetOrCompile(kernel);
        KernelCache second = Real();
        CompiledKernel loaded = second.GetOrCompile(kernel);
        Assert.Equal(1, second.FileHits);
        Assert.Equal(made.Cubin.ToArray(), loaded.Cubin.ToArray());
        Assert.Equal(made.Entries, loaded.Entries);
    }
}
