using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda.Tests.Interop;

public sealed class CudaDoctorTests
{
    [Fact]
    public void Without_a_driver_the_device_says_what_was_tried()
    {
        CudaReport report = CudaDoctor.Examine();
        if (report.Driver.Problem is null)
            return; // a driver is there: what it finds is tested on the GPU
        var e = Assert.Throws<CudaUnavailableException>(() => AttentionDevice.Cuda(0));
        Assert.Contains("driver", e.Message, StringComparison.Ordinal);
        if (report.Driver.Path is null)
        {
            Assert.NotEmpty(e.Tried);
            Assert.All(report.Driver.Tried, attempt => Assert.Contains(attempt.Path, e.Message, StringComparison.Ordinal));
        }
        Assert.False(report.CanRun);
        Assert.Empty(report.Gpus);
    }

    [Fact]
    public void A_negative_ordinal_is_an_argument_error() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => AttentionDevice.Cuda(-1));

    [Theory]
    [InlineData(9, 0, null)]
    [InlineData(7, 5, "below 8.0")]
    [InlineData(12, 0, "does not compile")]
    public void A_gpu_that_cannot_be_used_says_why(int major, int minor, string? problem)
    {
        var driver = new FakeDriver { Capability = (major, minor), Devices = 2 };
        var nvrtc = new NvrtcReport("libnvrtc", new Version(12, 4), [80, 90], null, []);
        IReadOnlyList<GpuReport> gpus = CudaDoctor.ExamineGpus(driver, nvrtc);
        Assert.Equal([0, 1], gpus.Select(gpu => gpu.Ordinal));
        Assert.All(gpus, gpu => Assert.Equal("Fake GPU", gpu.Model));
        Assert.All(gpus, gpu => Assert.Equal(problem is null, gpu.IsSupported));
        if (problem is not null)
            Assert.Contains(problem, gpus[0].Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void The_cache_is_counted()
    {
        using var folder = new TemporaryFolder();
        var cache = new KernelCache(
            new CudaSettings { CacheDirectory = folder.Join("cache") }, _ => new CompiledKernel("k", "sm_80", "12.4", new byte[10], ""), () => "c");
        cache.GetOrCompile(cache.Prepare(new KernelSource("k", "text", []), Sources.Sm80));
        CacheReport report = CudaDoctor.Examine(cache).Cache;
        Assert.Equal((1, null), (report.Entries, report.Problem));
        Assert.True(report.Bytes > 10);
    }

    [Fact]
    public void Every_import_exists_in_the_library_that_is_here()
    {
        // A misspelt name would otherwise be found by the first user who calls it.
        CudaReport report = CudaDoctor.Examine();
        AssertExports(typeof(Nvrtc), NativeLibraries.NvrtcProbe.Handle);
        AssertExports(typeof(CudaDriver), NativeLibraries.DriverProbe.Handle);
        Assert.Equal(report.Nvrtc.Path is null, NativeLibraries.NvrtcProbe.Handle == 0);
    }

    private static void AssertExports(Type imports, nint library)
    {
        string[] names = [.. imports.GetMethods(System.Reflection.BindingFlags.Static | System.Reflection.BindingFlags.Public)
            .Select(method => method.Name).Where(name => char.IsLower(name[0]))];
        Assert.True(names.Length > 10);
        if (library == 0)
            return; // nothing to compare with on this machine
        Assert.All(names, name => Assert.True(
            System.Runtime.InteropServices.NativeLibrary.TryGetExport(library, name, out _), $"{name} is not exported"));
    }
}
