using System.Globalization;
using System.Text;
using AttnCompose.Pipelines;
using AttnCompose.Testing;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>
/// Registers, shared memory, spills and tensor core instructions of every kernel of the ready pipelines, as one reviewed table:
/// a change of the device code that costs some is seen. It holds for one compiler.
/// </summary>
public sealed class KernelBudgetTests
{
    private static readonly KernelVariant s_usual = new(128, ElementType.BFloat16), s_small = new(64, ElementType.BFloat16);

    // One of each way that keys are walked; the other pipelines add selectors, whose kernels hardly know the head dim.
    private static readonly string[] s_withSmallHeads = ["dense-attention", "token-sparse-prefill", "block-sparse"];

    [BudgetFact]
    public void Every_kernel_costs_what_was_reviewed()
    {
        (string Architecture, PipelineDescriptor Pipeline, KernelVariant Variant)[] asked =
        [
            .. from architecture in (string[])["sm_80", "sm_90a"]
               from pipeline in ReadyPipelines.All
               from variant in (KernelVariant[])[s_small, s_usual]
               where variant == s_usual || s_withSmallHeads.Contains(pipeline.Name)
               select (architecture, pipeline, variant),
        ];
        var tables = new string[asked.Length];
        Parallel.For(
            0, asked.Length, new() { MaxDegreeOfParallelism = Environment.ProcessorCount },
            i => tables[i] = Table(asked[i].Pipeline, asked[i].Variant, asked[i].Architecture));
        Snapshot.Match("KernelBudgets", "kernels.txt", string.Concat((string[])
        [
            $"NVRTC {BudgetFactAttribute.Compiler}, bfloat16. Shared: bytes a block. Spills: bytes a thread. Loop: 80 mma.sync, 90 wgmma.\n",
            .. tables,
        ]));
    }

    private static string Table(PipelineDescriptor pipeline, KernelVariant variant, string architecture)
    {
        IReadOnlyList<(string Entry, CompiledKernel Kernel)> compiled = CompiledTexts.Get(
            new KernelSource(pipeline.Name.Replace('-', '_'), pipeline.CudaSource, [typeof(ReadyPipelines).Assembly]),
            new() { Architecture = architecture, HeadDim = variant.HeadDim, Element = variant.Element, Output = variant.Output });
        Assert.Empty(compiled.SelectMany(program => program.Kernel.Faults));
        var table = new StringBuilder();
        string title = $"{pipeline.Name}, {architecture}, head dim {variant.HeadDim}";
        table.Append(CultureInfo.InvariantCulture, $"\n{title,-48}{"loop",5}{"threads",9}{"registers",11}{"shared",8}{"spills",8}{"wgmma",7}{"mma",6}\n");
        foreach ((string name, CompiledKernel kernel) in compiled.OrderBy(program => program.Entry, StringComparer.Ordinal))
        {
            (EntryReport entry, LaunchShape shape) = (kernel.Entries.Single(), kernel.Shapes.Values.Single());
            table.Append(CultureInfo.InvariantCulture,
                $"  {name,-46}{shape.MainLoop,5}{shape.Threads,9}{entry.Registers,11}{shape.SharedBytes + entry.SharedBytes,8}{entry.SpillStoreBytes + entry.SpillLoadBytes,8}{entry.Wgmma,7}{entry.Mma,6}\n");
        }
        return table.ToString();
    }

    /// <summary>A fact about what one version of NVRTC makes.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    private sealed class BudgetFactAttribute : FactAttribute
    {
        public static readonly Version Compiler = new(12, 4);

        public BudgetFactAttribute() => Skip = Machine.WithoutNvrtc
            ?? (KernelCompiler.Version == Compiler ? null : $"The table is of NVRTC {Compiler}; here is {KernelCompiler.Version}.");
    }
}
