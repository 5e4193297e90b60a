using System.Text.RegularExpressions;

namespace AttnCompose.Cuda.Tests.Compilation;

public sealed class KernelCacheKeyTests
{
    private static readonly KernelSource s_source = new("name", "text", []) { GeneratorVersion = "1" };
    private static readonly DeviceHeader[] s_headers = [new("a.cuh", "A"), new("b.cuh", "B")];
    private static readonly CompileOptions s_options = new() { Architecture = "sm_90a", HeadDim = 128, Element = ElementType.BFloat16 };
    private const string Compiler = "NVRTC 12.4 1";

    private static KernelCacheKey Key(
        KernelSource? source = null, DeviceHeader[]? headers = null, CompileOptions? options = null, string compiler = Compiler) =>
        KernelCacheKey.Compute(source ?? s_source, headers ?? s_headers, options ?? s_options, compiler);

    [Fact]
    public void The_same_parts_give_the_same_key()
    {
        Assert.Equal(Key(), Key());
        Assert.Matches(new Regex("^[0-9a-f]{64}$"), Key().Hash);
    }

    [Fact]
    public void Every_part_changes_the_key()
    {
        KernelCacheKey[] keys =
        [
            Key(),
            Key(source: s_source with { CudaText = "text " }),
            Key(source: s_source with { Name = "name2" }),
            Key(source: s_source with { GeneratorVersion = "2" }),
            Key(headers: [new("a.cuh", "A"), new("b.cuh", "B2")]),
            Key(headers: [new("a.cuh", "A2"), new("b.cuh", "B")]),
            Key(headers: [new("a.cuh", "A"), new("c.cuh", "B")]),
            Key(headers: [new("a.cuh", "A")]),
            Key(headers: []),
            Key(headers: [new("a.cuh", "Ab.cuh"), new("", "B")]),
            Key(options: s_options with { Architecture = "sm_80" }),
            Key(options: s_options with { HeadDim = 64 }),
            Key(options: s_options with { HeadDim = 0 }),
            Key(options: s_options with { Element = ElementType.Float16 }),
            Key(options: s_options with { Output = ElementType.Float32 }),
            Key(options: s_options with { Output = ElementType.BFloat16 }),
            Key(options: s_options with { AttentionTile = new(128, 176, 2) }),
            Key(options: s_options with { AttentionTile = new(128, 17, 62) }),
            Key(options: s_options with { Verbose = true }),
            Key(options: s_options with { LineInfo = true }),
            Key(compiler: "NVRTC 12.4 2"),
        ];
        Assert.Equal(keys.Length, keys.Distinct().Count());
    }

    [Fact]
    public void No_option_asks_for_approximate_arithmetic() =>
        Assert.DoesNotContain(
            new CompileOptions { Architecture = "sm_80", Verbose = true, LineInfo = true, HeadDim = 8, Element = ElementType.Float16, Output = ElementType.Float32 }.ToArguments(),
            option => option.Contains("fast", StringComparison.OrdinalIgnoreCase) || option.Contains("ftz", StringComparison.Ordinal));

    [Theory]
    [InlineData(8, 0, "sm_80")]
    [InlineData(8, 9, "sm_89")]
    [InlineData(9, 0, "sm_90a")]
    [InlineData(10, 0, "sm_100a")]
    public void The_architecture_is_the_real_one(int major, int minor, string architecture) =>
        Assert.Equal(architecture, CompileOptions.ArchitectureOf(major, minor));
}
