namespace AttnCompose.Cuda.Tests.Compilation;

public sealed class AttentionLoopsTests
{
    [NvrtcFact]
    public void The_device_code_says_which_loop_runs_where()
    {
        AttentionLoops hopper = AttentionLoops.Of("sm_90a");
        Assert.Superset(new HashSet<int> { 64, 96, 128, 192, 256 }, hopper.WgmmaHeadDims.ToHashSet());
        Assert.DoesNotContain(8, hopper.WgmmaHeadDims);
        Assert.Contains("wgmma at head dims 64, ", hopper.ToString(), StringComparison.Ordinal);
        AttentionLoops ampere = AttentionLoops.Of("sm_80");
        Assert.Empty(ampere.WgmmaHeadDims);
        Assert.Contains("mma.sync at every head dim", ampere.ToString(), StringComparison.Ordinal);
        Assert.Throws<NvrtcException>(() => AttentionLoops.Of("sm_10"));
    }

    [NvrtcFact]
    public void A_kernel_without_what_it_promises_has_faults()
    {
        static string Faults(string text) => string.Join('\n', KernelCompiler.Compile(Sources.Source(text), Sources.Sm90 with { Verbose = true }).Faults);
        const string Shape = "struct LaunchShape { int threads, tile, shared_bytes, main_loop, others[8]; };\nextern \"C\" __device__ LaunchShape k_shape = ";
        Assert.Contains("exports no k_shape", Faults("extern \"C\" __global__ void k() {}"), StringComparison.Ordinal);
        Assert.Contains("has no wgmma", Faults(Shape + "{128, 64, 0, 90};\nextern \"C\" __global__ void k() {}"), StringComparison.Ordinal);
        Assert.Empty(Faults(Shape + "{128, 64, 0, 80};\nextern \"C\" __global__ void k() {}"));
        Assert.Contains("no entry point", Faults("__device__ int x;"), StringComparison.Ordinal);
    }
}
