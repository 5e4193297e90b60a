namespace AttnCompose.Cuda.Tests;

/// <summary>Kernel texts of the tests.</summary>
internal static class Sources
{
    public const string WithHeaders = """
        #include <attncompose/stages/AttnCompose.Cuda.Tests/outer.cuh>

        struct LaunchShape { int threads, tile, shared_bytes, others[9]; };

        extern "C" __device__ LaunchShape scale_shape = {128, 128, 0};

        extern "C" __global__ void __launch_bounds__(128) scale(float* data, int count) {
            int i = blockIdx.x * 128 + threadIdx.x;
            if (i < count) data[i] = attn_test::twice(data[i]);
        }
        """;

    public static KernelSource Source(string text, string name = "test") => new(name, text, [typeof(Sources).Assembly]);

    public static KernelSource Scale => Source(WithHeaders, "scale");

    public static CompileOptions Sm80 { get; } = new() { Architecture = "sm_80" };

    public static CompileOptions Sm90 { get; } = new() { Architecture = "sm_90a" };
}
