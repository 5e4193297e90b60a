using AttnCompose.Cuda;

namespace AttnCompose.Cli.Tests;

public sealed class DoctorTests
{
    private static readonly CpuReport Cpu = new("X64", 16, ["AVX2", "FMA"], 256, 32L << 30, ".NET 10, Linux");
    private static readonly LibraryAttempt[] DriverTried = [new("libcuda.so.1", "loaded")];
    private static readonly LibraryAttempt[] NvrtcTried = [new("/opt/cuda/lib64/libnvrtc.so.12", "no such file"), new("libnvrtc.so.12", "loaded")];

    private static readonly CudaReport Complete = new(
        new DriverReport("/usr/lib/libcuda.so.1", new Version(12, 4), null, DriverTried),
        [new GpuReport(0, "NVIDIA H200", new Version(9, 0), 132, 141L << 30, "sm_90a", null)],
        new NvrtcReport("/usr/lib/libnvrtc.so.12", new Version(12, 4), [80, 90], null, NvrtcTried),
        new CacheReport("/cache/attncompose", null, 3, 5L << 20));

    [Fact]
    public void This_machine_is_examined_and_the_CPU_works()
    {
        string text = CliResult.Run("doctor").Succeeded().Output;
        Assert.Contains("--device cpu works", text);
        CudaReport cuda = CudaDoctor.Examine();
        Assert.NotEmpty(cuda.Nvrtc.Tried);
        Assert.All(cuda.Nvrtc.Tried.Concat(cuda.Driver.Tried), attempt => Assert.Contains($"tried {attempt.Path}: ", text));
        Assert.Contains(cuda.CanRun ? "cuda:0 works" : "--device cuda does not work", text);
    }

    [Fact]
    public void A_machine_with_everything_runs_everything()
    {
        string text = Write(Complete);
        Assert.Contains("16 logical processors, 32.0 GiB", text);
        Assert.Contains("CUDA 12.4: /usr/lib/libcuda.so.1", text);
        Assert.Contains("cuda:0 NVIDIA H200, compute capability 9.0, 132 multiprocessors, 141.0 GiB", text);
        Assert.Contains("kernels are compiled for sm_90a", text);
        Assert.Contains("for sm_80, sm_90", text);
        Assert.Contains("tried /opt/cuda/lib64/libnvrtc.so.12: no such file", text);
        Assert.Contains("/cache/attncompose: 3 entries, 5.0 MiB", text);
        Assert.Contains("--device cuda:0 works.", text);
        Assert.DoesNotContain("not work", text);
    }

    [Fact]
    public void Which_attention_loop_runs_is_said_with_the_reason()
    {
        GpuReport gpu = Complete.Gpus[0] with { Loops = new AttentionLoops("sm_90a", [64, 128]) };
        Assert.Contains("attention loop: wgmma at head dims 64, 128, to which", Write(Complete with { Gpus = [gpu] }));
        gpu = gpu with { Loops = new AttentionLoops("sm_80", []) };
        Assert.Contains("attention loop: mma.sync at every head dim: only", Write(Complete with { Gpus = [gpu] }));
    }

    [Fact]
    public void Which_tiles_the_attention_loop_runs_in_is_said_with_the_reason()
    {
        GpuReport gpu = Complete.Gpus[0] with { Loops = new AttentionLoops("sm_90a", [64, 128]) };
        string text = Write(Complete with { Gpus = [gpu] });
        Assert.Contains("(queries x keys x stages): 192x128x2 at head dim 64, 128x128x2 at head dim 128\n", text);
        Assert.Contains("'attncompose tune' has stored no others", text);
        gpu = gpu with
        {
            Tunings =
            [
                (new(128, ElementType.BFloat16, AttentionMask.Full, true), new() { AttentionTile = new(128, 176, 2) }),
                (new(128, ElementType.BFloat16, AttentionMask.Full, false), new()),
            ],
        };
        text = Write(Complete with { Gpus = [gpu] });
        Assert.Contains("but 128x176x2 at head dim 128, BFloat16, full mask, long calls: 'attncompose tune'", text);
        Assert.DoesNotContain("short calls", text);
        Assert.DoesNotContain("attention tiles", Write(Complete with { Gpus = [gpu with { Loops = new AttentionLoops("sm_80", []) }] }));
    }

    [Fact]
    public void A_kernel_that_is_not_as_it_should_be_is_a_failure()
    {
        CliResult result = CliResult.Run([FakePipeline.Describe("fake")], "doctor", "--kernels", "--architecture", "sm_80");
        Assert.Equal(CommandLine.Failure, result.Code);
        if (CudaDoctor.Examine().CanCompile)
        {
            Assert.Contains("FAULT fake, head dim 64, BFloat16: fake_attend exports no fake_attend_shape", result.Output);
            Assert.Contains(" faults\n", result.Output);
        }
        else
        {
            Assert.Contains("NVRTC", result.Error);
        }
    }

    [Fact]
    public void Without_a_GPU_kernels_need_a_named_architecture()
    {
        if (!CudaDoctor.Examine().CanRun)
            Assert.Contains("--architecture", CliResult.Run("doctor", "--kernels").FailedWith(CommandLine.Failure));
    }

    [Fact]
    public void A_missing_driver_is_what_keeps_a_GPU_from_working()
    {
        string text = Write(Complete with { Driver = new DriverReport(null, null, "not found", []), Gpus = [] });
        Assert.Contains("does not work: there is no usable CUDA driver", text);
        Assert.Contains("The emitted CUDA can be compiled here", text);
    }

    [Fact]
    public void A_GPU_that_is_too_old_says_so()
    {
        string text = Write(Complete with { Gpus = [Complete.Gpus[0] with { Problem = "compute capability 7.5 is below 8.0" }] });
        Assert.Contains("cannot be used: compute capability 7.5 is below 8.0", text);
        Assert.Contains("does not work: the driver has no GPU that can be used", text);
    }

    [Fact]
    public void A_missing_compiler_names_the_variable_that_helps()
    {
        string text = Write(Complete with { Nvrtc = new NvrtcReport(null, null, [], "not found", NvrtcTried) });
        Assert.Contains("does not work: kernels are compiled when they are first used, and NVRTC was not found", text);
        Assert.Contains("ATTNCOMPOSE_NVRTC", text);
    }

    private static string Write(CudaReport cuda)
    {
        using var output = new StringWriter { NewLine = "\n" };
        DoctorReport.Write(output, Cpu, cuda);
        return output.ToString();
    }
}
