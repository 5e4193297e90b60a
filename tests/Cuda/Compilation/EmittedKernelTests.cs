using System.Text;
using AttnCompose.Testing;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>
/// Every CUDA text that the generator's snapshots show, and those of the device code's own tests, through the compiler for
/// both architectures: a register spilled, a warning of the assembler, an ignored setmaxnreg or a serialised wgmma fails.
/// </summary>
internal static class EmittedKernels
{
    private const string Snapshots = "tests/Generators/Snapshots";
    private const string Units = "tests/Cuda/Units"; // texts of the same form, written by hand beside the device code

    /// <summary>File (from the root of the checkout), head dim, output, of what the generator's snapshots show.</summary>
    /// <remarks>A text takes seconds to compile, so each is compiled as it is used most.</remarks>
    public static TheoryData<string, int, ElementType> Shown()
    {
        var cases = new TheoryData<string, int, ElementType>();
        string[] files = [.. Below(Snapshots, "*.verified.cu")];
        Assert.NotEmpty(files);
        foreach (string file in files)
            cases.Add(file, 128, ElementType.BFloat16);
        return cases;
    }

    /// <summary>The same of the units, which are compiled in every way.</summary>
    public static TheoryData<string, int, ElementType> OfUnits()
    {
        var cases = new TheoryData<string, int, ElementType>();
        foreach (string file in Below(Units, "*.cu"))
        {
            cases.Add(file, 128, ElementType.BFloat16);
            cases.Add(file, 64, ElementType.BFloat16);
            cases.Add(file, 128, ElementType.Float32);
        }
        return cases;
    }

    /// <summary>
    /// The other head dims that the sm_90a loop was fitted to: by each way that keys and values come, and with a rule, which has
    /// registers of its own there.
    /// </summary>
    public static TheoryData<string, int, ElementType> Fitted()
    {
        var cases = new TheoryData<string, int, ElementType>();
        string[] fitted =
        [
            .. ((string[])["dense_attention", "mapped_attention", "token_sparse_prefill"]).Select(unit => $"{Units}/{unit}.cu"),
            $"{Snapshots}/SparseSoftCap/kernels.verified.cu",
        ];
        foreach (string file in fitted)
        {
            foreach (int headDim in new[] { 96, 192, 256 })
                cases.Add(file, headDim, ElementType.BFloat16);
        }
        return cases;
    }

    /// <summary>
    /// Text, head dim and shape of tiles: every shape under both masks, and over gathered keys at the head dim that is used most.
    /// </summary>
    public static TheoryData<string, int, string> Tiles()
    {
        var cases = new TheoryData<string, int, string>();
        foreach (int headDim in AttentionTile.HeadDims)
        {
            foreach (AttentionTile tile in AttentionTile.OthersFor(headDim))
            {
                cases.Add("mapped_attention, causal", headDim, tile.ToString());
                cases.Add("mapped_attention, full", headDim, tile.ToString());
                if (headDim == 128)
                    cases.Add("token_sparse_prefill", headDim, tile.ToString());
            }
        }
        return cases;
    }

    public static void AssertTileIsClean(string unit, int headDim, AttentionTile tile)
    {
        string[] parts = unit.Split(", ");
        string text = File.ReadAllText(Repository.PathOf($"{Units}/{parts[0]}.cu"));
        if (parts is [_, "full"])
            text = text.Replace("kCausal = true", "kCausal = false", StringComparison.Ordinal);
        var options = new CompileOptions
        {
            Architecture = "sm_90a",
            HeadDim = headDim,
            Element = ElementType.BFloat16,
            Output = ElementType.BFloat16,
            AttentionTile = tile,
        };
        IReadOnlyList<(string, CompiledKernel)> compiled = CompiledTexts.Get(Source(parts[0], text), options);
        foreach ((string entry, CompiledKernel kernel) in compiled)
        {
            string[] faults = [.. kernel.Faults];
            Assert.True(faults.Length == 0, $"{string.Join('\n', faults)}\n{entry}, {unit}, head dim {headDim}, {tile}:\n{kernel.Log}");
        }
        var shapes = compiled.SelectMany(of => CubinFile.Kernels(of.Item2.Cubin.Span).Values)
            .Where(of => of.Shape is { BoxRows: > 0 }).Select(of => of.Shape!.Value);
        Assert.Contains(shapes, shape => (shape.Tile, shape.BoxRows) == (tile.Queries, tile.Keys));
    }

    public static void AssertClean(string architecture, string file, int headDim, ElementType output)
    {
        string text = File.ReadAllText(Repository.PathOf(file), Encoding.UTF8).TrimStart('\uFEFF');
        // A declaration may fix the element type, and an output that is no float32 is of the same.
        ElementType element = text.Contains("using Element = attn::f16;", StringComparison.Ordinal) ? ElementType.Float16 : ElementType.BFloat16;
        var options = new CompileOptions
        {
            Architecture = architecture,
            HeadDim = headDim,
            Element = element,
            Output = output == ElementType.Float32 ? output : element,
        };
        KernelSource source = Source(Path.GetFileNameWithoutExtension(file).Replace('.', '_'), text);
        foreach ((string entry, CompiledKernel kernel) in CompiledTexts.Get(source, options))
        {
            string[] faults = [.. kernel.Faults];
            Assert.True(faults.Length == 0, $"{string.Join('\n', faults)}\n{entry} with {options}:\n{kernel.Log}");
        }
        // Each text's own headers stand each other, whoever else has its kernels.
        int first = text.IndexOf("// -- kernel 1 of ", StringComparison.Ordinal);
        if (first >= 0)
            Assert.Empty(CompiledTexts.Compile(source with { CudaText = text[..first] }, options).Log);
    }

    public static void AssertDelaysAddCode(string architecture)
    {
        KernelSource source = Source("token_sparse_prefill", File.ReadAllText(Repository.PathOf($"{Units}/token_sparse_prefill.cu")));
        var options = new CompileOptions
        {
            Architecture = architecture, HeadDim = 64, Element = ElementType.BFloat16, Output = ElementType.BFloat16,
        };
        int Bytes(bool delays) => CompiledTexts.Get(source, options with { Delays = delays }).Sum(program => program.Kernel.Cubin.Length);
        Assert.True(Bytes(delays: true) > Bytes(delays: false), "Delays add no code.");
    }

    private static KernelSource Source(string name, string text) =>
        new(name, text, [System.Reflection.Assembly.Load("AttnCompose.Pipelines"), typeof(EmittedKernels).Assembly]);

    private static IEnumerable<string> Below(string folder, string pattern) =>
        Directory.GetFiles(Repository.PathOf(folder), pattern, SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(Repository.Root, file).Replace('\\', '/')).Order(StringComparer.Ordinal);
}

// Several classes, for they run beside each other, and one's cases do not.

/// <summary>Emitted kernels with the portable loop.</summary>
public sealed class EmittedSm80KernelTests
{
    [NvrtcTheory]
    [MemberData(nameof(EmittedKernels.Shown), MemberType = typeof(EmittedKernels))]
    [MemberData(nameof(EmittedKernels.OfUnits), MemberType = typeof(EmittedKernels))]
    public void An_emitted_kernel_compiles_cleanly(string file, int headDim, ElementType output) =>
        EmittedKernels.AssertClean("sm_80", file, headDim, output);

    [NvrtcFact]
    public void Kernels_compile_with_delays_at_their_barriers() => EmittedKernels.AssertDelaysAddCode("sm_80");
}

/// <summary>Emitted kernels with the loop of wgmma.</summary>
public sealed class EmittedSm90KernelTests
{
    [NvrtcTheory]
    [MemberData(nameof(EmittedKernels.Shown), MemberType = typeof(EmittedKernels))]
    public void An_emitted_kernel_compiles_cleanly(string file, int headDim, ElementType output) =>
        EmittedKernels.AssertClean("sm_90a", file, headDim, output);
}

/// <summary>The loop of wgmma in every way that it was fitted.</summary>
public sealed class FittedSm90KernelTests
{
    [NvrtcTheory]
    [MemberData(nameof(EmittedKernels.OfUnits), MemberType = typeof(EmittedKernels))]
    [MemberData(nameof(EmittedKernels.Fitted), MemberType = typeof(EmittedKernels))]
    public void An_emitted_kernel_compiles_cleanly(string file, int headDim, ElementType output) =>
        EmittedKernels.AssertClean("sm_90a", file, headDim, output);

    [NvrtcTheory]
    [MemberData(nameof(EmittedKernels.Tiles), MemberType = typeof(EmittedKernels))]
    public void An_emitted_kernel_compiles_cleanly_in_every_shape_of_tiles(string unit, int headDim, string tile)
    {
        Assert.True(AttentionTile.TryParse(tile, out AttentionTile shape));
        EmittedKernels.AssertTileIsClean(unit, headDim, shape);
    }

    [NvrtcFact]
    public void Kernels_compile_with_delays_at_their_barriers() => EmittedKernels.AssertDelaysAddCode("sm_90a");
}
