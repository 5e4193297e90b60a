using System.Text;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>
/// Every CUDA text that the generator's snapshots show, through the compiler for both architectures: a register spilled, a
/// warning of the assembler, an ignored setmaxnreg or a serialised wgmma fails.
/// </summary>
public sealed class EmittedKernelTests
{
    private const string Snapshots = "tests/Generators/Snapshots";

    /// <summary>Snapshot (its path below the folder), architecture, head dim, output.</summary>
    public static TheoryData<string, string, int, ElementType> Cases
    {
        get
        {
            var cases = new TheoryData<string, string, int, ElementType>();
            foreach (string file in Files())
            {
                foreach (string architecture in new[] { "sm_80", "sm_90a" })
                {
                    foreach (int headDim in new[] { 64, 128 })
                        cases.Add(file, architecture, headDim, ElementType.BFloat16);
                    cases.Add(file, architecture, 128, ElementType.Float32);
                }
            }
            if (cases.Count == 0)
                cases.Add("", "", 0, ElementType.Any); // a theory without data is an error of xunit
            return cases;
        }
    }

    [NvrtcTheory]
    [MemberData(nameof(Cases))]
    public void An_emitted_kernel_compiles_cleanly(string file, string architecture, int headDim, ElementType output)
    {
        if (file.Length == 0)
        {
            Assert.Empty(Files());
            return;
        }
        string text = File.ReadAllText(Path.Combine(Root()!, Snapshots, file), Encoding.UTF8).TrimStart('\uFEFF');
        var source = new KernelSource(
            Path.GetFileName(file)[..^".verified.cu".Length].Replace('.', '_'), text,
            [System.Reflection.Assembly.Load("AttnCompose.Pipelines"), typeof(EmittedKernelTests).Assembly]);
        var options = new CompileOptions
        {
            Architecture = architecture,
            HeadDim = headDim,
            Element = ElementType.BFloat16,
            Output = output,
            Verbose = true,
        };
        CompiledKernel kernel = KernelCompiler.Compile(source, options);
        AssertClean(kernel, options);
    }

    [Fact]
    public void Where_there_are_snapshots_there_are_texts_among_them()
    {
        if (Root() is { } root && Directory.Exists(Path.Combine(root, Snapshots)))
            Assert.NotEmpty(Files());
    }

    private static void AssertClean(CompiledKernel kernel, CompileOptions options)
    {
        string what = $"{kernel.Name} with {options}:\n{kernel.Log}";
        Assert.True(kernel.Entries.Count > 0, what);
        Assert.True(kernel.Warnings.Count == 0, what);
        foreach (EntryReport entry in kernel.Entries)
        {
            Assert.True(entry is { SpillStoreBytes: 0, SpillLoadBytes: 0 }, $"{entry.Name} spills. {what}");
            Assert.True(kernel.Cubin.Span.IndexOf(Encoding.ASCII.GetBytes(entry.Name + "_shape\0")) > 0, $"{entry.Name} exports no launch shape. {what}");
        }
    }

    private static string[] Files()
    {
        if (Root() is not { } root || !Directory.Exists(Path.Combine(root, Snapshots)))
            return [];
        string folder = Path.Combine(root, Snapshots);
        return [.. Directory.GetFiles(folder, "*.verified.cu", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(folder, file)).Order(StringComparer.Ordinal)];
    }

    /// <summary>The checkout that the tests were built in.</summary>
    private static string? Root()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "AttnCompose.sln")))
                return folder.FullName;
        }
        return null;
    }
}
