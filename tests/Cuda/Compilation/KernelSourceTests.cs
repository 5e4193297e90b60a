using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>A text cut into programs of one kernel each.</summary>
public sealed class KernelSourceTests
{
    private const string Common = """
        #include <attncompose/problem.cuh>

        struct Config {
            static constexpr int kFactor = 2;
        };
        using Unused = Config;  // by either kernel


        """;

    private static string Kernel(int number, string name, string body) => $$"""
        // -- kernel {{number}} of 2: one block
        // separate because it is
        extern "C" __device__ attn::LaunchShape {{name}}_shape = {128, 128, 0};

        extern "C" __global__ void __launch_bounds__(128)
        {{name}}(int* p) {
            {{body}}
        }


        """;

    private static KernelSource Two(string second) =>
        new("two", Common + Kernel(1, "two_first", "*p = Config::kFactor;") + Kernel(2, "two_second", second), []) { GeneratorVersion = "7" };

    public static TheoryData<string> Ready => [.. ReadyPipelines.All.Select(pipeline => pipeline.Name)];

    [Theory]
    [MemberData(nameof(Ready))]
    public void A_pipelines_text_is_a_program_a_kernel(string name)
    {
        PipelineDescriptor pipeline = ReadyPipelines.All.Single(pipeline => pipeline.Name == name);
        var source = new KernelSource(name.Replace('-', '_'), pipeline.CudaSource, []);
        IReadOnlyList<KernelSource> programs = source.Programs();
        Assert.Equal(pipeline.Plan.Kernels.Select(kernel => kernel.Name), programs.Select(program => program.Name));
        string common = source.CudaText[..source.CudaText.IndexOf("// -- kernel 1 of ", StringComparison.Ordinal)];
        Assert.All(programs, program =>
        {
            Assert.StartsWith(common, program.CudaText, StringComparison.Ordinal);
            Assert.Equal(2, program.CudaText.Split("__global__").Length);
        });
        // Nothing is lost: the kernels after what they share are the text.
        IEnumerable<string> kernels = programs.Select(
            program => program.CudaText[program.CudaText.IndexOf("// -- kernel ", StringComparison.Ordinal)..]);
        Assert.Equal(source.CudaText, common + string.Concat(kernels));
    }

    [Fact]
    public void A_text_without_headings_is_one_program()
    {
        KernelSource source = Sources.Scale;
        Assert.Same(source, Assert.Single(source.Programs()));
    }

    [Fact]
    public void What_a_text_is_stays_with_its_programs() =>
        Assert.All(Two("*p = 3;").Programs(), program => Assert.Equal("7", program.GeneratorVersion));

    [NvrtcFact]
    public void A_program_compiles_to_its_kernel_alone()
    {
        IReadOnlyList<CompiledKernel> compiled = KernelCompiler.CompileAll([.. Two("*p = 3;").Programs().Select(p => (p, Sources.Sm80))]);
        Assert.Equal(["two_first", "two_second"], compiled.Select(kernel => kernel.Name));
        Assert.All(compiled, kernel => Assert.Equal(kernel.Name, Assert.Single(kernel.Shapes).Key));
    }

    [NvrtcFact]
    public void What_does_not_compile_is_said_of_its_kernel_with_the_line_of_the_whole_text()
    {
        KernelSource source = Two("undeclared = 1;");
        int line = 1 + source.CudaText[..source.CudaText.IndexOf("undeclared", StringComparison.Ordinal)].Count(c => c == '\n');
        var e = Assert.Throws<KernelCompilationException>(
            () => KernelCompiler.CompileAll([.. source.Programs().Select(p => (p, Sources.Sm80))]));
        Assert.Equal("two_second", e.SourceName);
        Assert.Contains($"two.cu({line}): error", e.Log, StringComparison.Ordinal);
    }

    [Fact]
    public void What_a_kernel_does_not_reach_does_not_tell_texts_apart_in_these_tests()
    {
        KernelSource one = Two("*p = 3;");
        KernelSource two = new("other", one.CudaText.Replace("two_", "other_").Replace("kFactor = 2", "kFactor = 3"), []);
        string[] Reached(KernelSource source) => [.. source.Programs().Select(CompiledTexts.WithoutNeighbours)];
        Assert.Equal(Reached(one)[1], Reached(two)[1]);
        Assert.NotEqual(Reached(one)[0], Reached(two)[0]);
        Assert.Contains("kFactor = 2", Reached(one)[0], StringComparison.Ordinal);
        Assert.DoesNotContain("Config", Reached(one)[1], StringComparison.Ordinal);
        Assert.Contains("*p = 3;", Reached(one)[1], StringComparison.Ordinal);
    }
}
