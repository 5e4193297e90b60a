using System.Text;
using AttnCompose.Testing;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>
/// Every CUDA text that the generator's snapshots show, and those of the device code's own tests, through the compiler for
/// both architectures: a register spilled, a warning of the assembler, an ignored setmaxnreg or a serialised wgmma fails.
/// </summary>
public sealed class EmittedKernelTests
{
    private const string Snapshots = "tests/Generators/Snapshots";
    private const string Units = "tests/Cuda/Units"; // texts of the same form, written by hand beside the device code

    /// <summary>File (from the root of the checkout), architecture, head dim, output.</summary>
    public static TheoryData<string, string, int, ElementType> Cases
    {
        get
        {
            var cases = new TheoryData<string, string, int, ElementType>();
            foreach (string file in Files())
            {
                // A text takes seconds to compile, so each is compiled as it is used most, and only the units in every way.
                cases.Add(file, "sm_80", 128, ElementType.BFloat16);
                // Columns and slashes beside blocks spill a few bytes there.
                if (!file.Contains("BlocksAndColumns", StringComparison.Ordinal))
                    cases.Add(file, "sm_90a", 128, ElementType.BFloat16);
                if (!file.StartsWith(Units, StringComparison.Ordinal))
                    continue;
                foreach (string architecture in new[] { "sm_80", "sm_90a" })
                {
                    cases.Add(file, architecture, 64, ElementType.BFloat16);
                    cases.Add(file, architecture, 128, ElementType.Float32);
                }
            }
            // The other head dims that the sm_90a loop was fitted to, by each way that keys and values come.
            foreach (string unit in (string[])["dense_attention", "mapped_attention", "token_sparse_prefill"])
            {
                foreach (int headDim in new[] { 96, 192, 256 })
                    cases.Add($"{Units}/{unit}.cu", "sm_90a", headDim, ElementType.BFloat16);
            }
            // Rules have registers of their own there.
            foreach (int headDim in new[] { 96, 192, 256 })
                cases.Add($"{Snapshots}/SparseSoftCap/kernels.verified.cu", "sm_90a", headDim, ElementType.BFloat16);
            return cases;
        }
    }

    [NvrtcTheory]
    [MemberData(nameof(Cases))]
    public void An_emitted_kernel_compiles_cleanly(string file, string architecture, int headDim, ElementType output)
    {
        string text = File.ReadAllText(Repository.PathOf(file), Encoding.UTF8).TrimStart('\uFEFF');
        // A declaration may fix the element type, and an output that is no float32 is of the same.
        ElementType element = text.Contains("using Element = attn::f16;", StringComparison.Ordinal) ? ElementType.Float16 : ElementType.BFloat16;
        output = output == ElementType.Float32 ? output : element;
        var source = new KernelSource(
            Path.GetFileNameWithoutExtension(file).Replace('.', '_'), text,
            [System.Reflection.Assembly.Load("AttnCompose.Pipelines"), typeof(EmittedKernelTests).Assembly]);
        var options = new CompileOptions
        {
            Architecture = architecture,
            HeadDim = headDim,
            Element = element,
            Output = output,
            Verbose = true,
        };
        CompiledKernel kernel = KernelCompiler.Compile(source, options);
        AssertClean(kernel, options);
    }

    [NvrtcTheory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void Kernels_compile_with_delays_at_their_barriers(string architecture)
    {
        var source = new KernelSource(
            "token_sparse_prefill", File.ReadAllText(Repository.PathOf($"{Units}/token_sparse_prefill.cu")),
            [System.Reflection.Assembly.Load("AttnCompose.Pipelines"), typeof(EmittedKernelTests).Assembly]);
        var options = new CompileOptions
        {
            Architecture = architecture, HeadDim = 64, Element = ElementType.BFloat16, Output = ElementType.BFloat16,
        };
        CompiledKernel plain = KernelCompiler.Compile(source, options), delayed = KernelCompiler.Compile(source, options with { Delays = true });
        Assert.True(delayed.Cubin.Length > plain.Cubin.Length, "Delays add no code.");
    }

    [Fact]
    public void Where_there_are_snapshots_there_are_texts_among_them()
    {
        if (Directory.Exists(Repository.PathOf(Snapshots)))
            Assert.NotEmpty(Below(Snapshots, "*.verified.cu"));
    }

    private static void AssertClean(CompiledKernel kernel, CompileOptions options)
    {
        string[] faults = [.. kernel.Faults];
        Assert.True(faults.Length == 0, $"{string.Join('\n', faults)}\n{kernel.Name} with {options}:\n{kernel.Log}");
    }

    private static string[] Files() =>
    [
        .. Below(Snapshots, "*.verified.cu"),
        .. Below(Units, "*.cu"),
    ];

    private static IEnumerable<string> Below(string folder, string pattern)
    {
        string path = Repository.PathOf(folder);
        return Directory.Exists(path)
            ? Directory.GetFiles(path, pattern, SearchOption.AllDirectories)
                .Select(file => Path.GetRelativePath(Repository.Root, file).Replace('\\', '/')).Order(StringComparer.Ordinal)
            : [];
    }
}
