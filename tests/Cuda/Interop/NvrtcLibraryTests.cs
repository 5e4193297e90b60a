using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda.Tests.Interop;

public sealed class NvrtcLibraryTests
{
    private static string[] Find(TemporaryFolder folder, CudaSettings settings, string? start = null) => [.. NvrtcLibrary
        .Candidates(new(settings, start ?? folder.Join("app", "bin"), folder.Join("home"), [folder.Join("system")]))
        .Where(path => path.StartsWith(folder.Path, StringComparison.Ordinal))
        .Select(path => Path.GetRelativePath(folder.Path, path))];

    private static void Touch(TemporaryFolder folder, string path)
    {
        string file = folder.Join(path.Split('/'));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, "");
    }

    [UnixFact]
    public void The_order_is_toolkit_of_the_environment_then_of_the_system_then_python_then_the_checkout()
    {
        using var folder = new TemporaryFolder();
        foreach (string path in new[]
        {
            ".tools/nvrtc/usr/lib/libnvrtc.so.12",
            "venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "system/cuda-12.4/lib64/libnvrtc.so.12",
            "system/cuda-13.0/lib64/libnvrtc.so.12",
            "system/cuda-13.0/lib64/libnvrtc.so.13",
            "toolkit/lib64/libnvrtc.so",
            "toolkit/lib64/libnvrtc_static.a",
            "toolkit/lib64/libnvrtc-builtins.so.12.4",
        })
            Touch(folder, path);
        Directory.CreateDirectory(folder.Join("app", "bin"));
        Assert.Equal(
            [
                "toolkit/lib64/libnvrtc.so",
                "system/cuda-13.0/lib64/libnvrtc.so.13",
                "system/cuda-13.0/lib64/libnvrtc.so.12",
                "system/cuda-12.4/lib64/libnvrtc.so.12",
                "venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
                "home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                ".tools/nvrtc/usr/lib/libnvrtc.so.12",
            ],
            Find(folder, new() { ToolkitRoots = [folder.Join("toolkit")], PythonRoots = [folder.Join("venv")] })
                .Where(path => Path.GetFileName(path).StartsWith("libnvrtc.so", StringComparison.Ordinal)));
    }

    [UnixFact]
    public void A_toolkit_folder_without_the_library_is_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("toolkit/lib64", Find(folder, new() { ToolkitRoots = [folder.Join("toolkit")] }));
    }

    [Fact]
    public void The_loader_is_asked_by_name_last()
    {
        using var folder = new TemporaryFolder();
        string last = NvrtcLibrary.Candidates(new(new(), folder.Path, folder.Path, [])).Last();
        Assert.False(Path.IsPathRooted(last));
        Assert.Contains("nvrtc", last, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_named_is_the_only_place()
    {
        using var folder = new TemporaryFolder();
        string file = folder.Join("my-nvrtc.so");
        Assert.Equal([file], NvrtcLibrary.Candidates(new(new() { Nvrtc = file }, folder.Path, folder.Path, [])));
        Assert.Equal([folder.Path], NvrtcLibrary.Candidates(new(new() { Nvrtc = folder.Path }, folder.Path, folder.Path, [])));
    }

    [Fact]
    public void Every_try_is_told_with_what_came_of_it()
    {
        using var folder = new TemporaryFolder();
        string garbage = folder.Join("garbage.so");
        File.WriteAllText(garbage, "not a library");
        NativeLibraryProbe probe = NativeLibraries.Probe([folder.Join("missing.so"), folder.Path, garbage]);
        Assert.Equal(0, probe.Handle);
        Assert.Null(probe.Path);
        Assert.Equal(3, probe.Tried.Count);
        Assert.Equal("no such file", probe.Tried[0].Outcome);
        Assert.Equal("no such library in this folder", probe.Tried[1].Outcome);
        Assert.DoesNotContain(probe.Tried, attempt => attempt.Loaded);
        var exception = new CudaUnavailableException("Nothing.", probe.Tried);
        Assert.All(probe.Tried, attempt => Assert.Contains(attempt.Path, exception.Message, StringComparison.Ordinal));
    }

    [NvrtcFact]
    public void The_one_that_was_loaded_ends_the_search()
    {
        NvrtcReport report = CudaDoctor.Examine().Nvrtc;
        Assert.True(report.Tried[^1].Loaded);
        Assert.Single(report.Tried, attempt => attempt.Loaded);
        Assert.Equal(KernelCompiler.Version, report.Version);
    }
}
