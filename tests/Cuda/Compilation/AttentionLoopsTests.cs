using System.Runtime.InteropServices;

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
    public void The_host_knows_the_shapes_of_tiles_that_the_device_code_has()
    {
        int[] dims = [.. AttentionLoops.Of("sm_90a").WgmmaHeadDims];
        string Usual(int dim)
        {
            string tuning = $"attn::WgmmaTuning<{dim}, true, false>";
            return $"{{{dim}, 64 * {tuning}::kConsumers, {tuning}::kKeyTile, {tuning}::kStages}}";
        }
        int others = AttentionTile.HeadDims.Sum(dim => AttentionTile.OthersFor(dim).Count);
        var shapes = dims.Select(Usual).Concat(Enumerable.Range(0, others).Select(i => $"attn::kWgmmaTiles[{i}]"));
        string text = $$"""
            #include <attncompose/attention/main_loop.cuh>
            static_assert(sizeof(attn::kWgmmaTiles) / sizeof(attn::WgmmaTile) == {{others}});
            extern "C" __device__ attn::WgmmaTile all_shapes[] = { {{string.Join(", ", shapes)}} };
            """;
        CompiledKernel compiled = KernelCompiler.Compile(Sources.Source(text), Sources.Sm90);
        int[] words = MemoryMarshal.Cast<byte, int>(CubinFile.Variable(compiled.Cubin.Span, "all_shapes")).ToArray();
        var device = words.Chunk(4).Select(of => (of[0], new AttentionTile(of[1], of[2], of[3])));
        Assert.Equal(
            [
                .. dims.Select(dim => (dim, AttentionTile.DefaultFor(dim)!.Value)),
                .. dims.SelectMany(dim => AttentionTile.OthersFor(dim).Select(tile => (dim, tile))),
            ],
            device);
        Assert.Equal(dims, AttentionTile.HeadDims);
    }

    [Fact]
    public void A_head_dim_without_a_choice_has_no_shapes()
    {
        Assert.Null(AttentionTile.DefaultFor(80));
        Assert.Empty(AttentionTile.OthersFor(80));
        Assert.All(AttentionTile.HeadDims, dim => Assert.DoesNotContain(AttentionTile.DefaultFor(dim)!.Value, AttentionTile.OthersFor(dim)));
    }

    [Theory]
    [InlineData("128x176x2", true)]
    [InlineData("128x176", false)]
    [InlineData("128x176x2x1", false)]
    [InlineData("128x0x2", false)]
    [InlineData("128x 176x2", false)]
    [InlineData("default", false)]
    [InlineData("", false)]
    public void A_shape_is_read_as_it_is_written(string text, bool isOne)
    {
        Assert.Equal(isOne, AttentionTile.TryParse(text, out AttentionTile tile));
        Assert.Equal(isOne ? text : "0x0x0", tile.ToString());
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
