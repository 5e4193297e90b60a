using System.Diagnostics;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>What only real processes show: sharing a cache folder, being killed, and an NVRTC that is missing or broken.</summary>
public sealed class ProcessTests
{
    private static string[] Lines(Process process)
    {
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"exit code {process.ExitCode}: {output}");
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    [Fact]
    public void Processes_that_want_the_same_kernel_compile_it_once()
    {
        using var folder = new TemporaryFolder();
        Process[] processes = [.. Enumerable.Range(0, 3).Select(_ => Process.Start(Program.Command("compile-slowly", folder.Join("cache"), "1000"))!)];
        string[][] said = [.. processes.Select(Lines)];
        Assert.Single(said, lines => lines.Contains("compiling"));
        Assert.All(said, lines => Assert.Equal("100000", lines[^1]));
    }

    [Fact]
    public void A_process_that_is_killed_while_it_compiles_holds_nobody_up()
    {
        using var folder = new TemporaryFolder();
        using Process killed = Process.Start(Program.Command("compile-slowly", folder.Join("cache"), "600000"))!;
        Assert.Equal("compiling", killed.StandardOutput.ReadLine());
        killed.Kill();
        killed.WaitForExit();
        var (cache, kernel) = Program.SlowEntry(folder.Join("cache"), () => { });
        string file = cache.FileOf(kernel.Key)!;
        Assert.True(File.Exists(file + ".lock"));
        File.WriteAllText($"{file}.1.2.tmp", "half an entry"); // as if it had been killed a moment later
        Assert.Equal(100_000, cache.GetOrCompile(kernel).Cubin.Length);
        Assert.Equal(1, cache.Compilations);
        Assert.Equal([file, file + ".lock"], Directory.GetFiles(folder.Join("cache")).Order(StringComparer.Ordinal));
        using Process next = Process.Start(Program.Command("compile-slowly", folder.Join("cache"), "600000"))!;
        Assert.Equal(["100000"], Lines(next)); // from the file
    }

    [Fact]
    public void An_nvrtc_that_cannot_be_used_is_a_typed_error_that_names_it()
    {
        using var folder = new TemporaryFolder();
        string garbage = folder.Join("garbage.so");
        File.WriteAllText(garbage, "not a library");
        foreach (string path in new[] { folder.Join("missing.so"), folder.Path, garbage })
            AssertFails(path, nameof(CudaUnavailableException), path);
        if (OperatingSystem.IsLinux())
            AssertFails("libc.so.6", nameof(CudaUnavailableException), "libc.so.6"); // no such file here
    }

    [NvrtcFact]
    public void An_nvrtc_without_its_builtins_is_a_typed_error_or_finds_them_elsewhere()
    {
        if (OperatingSystem.IsWindows())
            return;
        using var folder = new TemporaryFolder();
        string alone = folder.Join("libnvrtc.so.12");
        File.CreateSymbolicLink(alone, CudaDoctor.Examine().Nvrtc.Path!);
        string said = CompileWith(alone);
        Assert.True(said.StartsWith(nameof(NvrtcException), StringComparison.Ordinal) || said == "compiled True", said);
    }

    [UnixFact]
    public void A_library_that_is_no_nvrtc_is_a_typed_error_that_names_it()
    {
        string? library = Process.GetCurrentProcess().Modules.Cast<ProcessModule>()
            .Select(module => module.FileName).FirstOrDefault(file => Path.GetFileName(file).StartsWith("libSystem.Native", StringComparison.Ordinal));
        Assert.NotNull(library);
        AssertFails(library, nameof(NvrtcException), library);
    }

    private static string CompileWith(string nvrtc)
    {
        ProcessStartInfo command = Program.Command("compile");
        command.Environment["ATTNCOMPOSE_NVRTC"] = nvrtc;
        using Process process = Process.Start(command)!;
        return string.Join('\n', Lines(process));
    }

    private static void AssertFails(string nvrtc, string type, string named)
    {
        string said = CompileWith(nvrtc);
        Assert.StartsWith(type, said, StringComparison.Ordinal);
        Assert.Contains(named, said, StringComparison.Ordinal);
    }
}
