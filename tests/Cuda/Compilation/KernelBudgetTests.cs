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
    private static readonly KernelVariant[] s_variants = [new(64, ElementType.BFloat16), new(128, ElementType.BFloat16)];

    [BudgetFact]
    public void Every_kernel_costs_what_was_reviewed()
    {
        var table = new StringBuilder();
        table.Append(CultureInfo.InvariantCulture, $"NVRTC {BudgetFactAttribute.Compiler}, bfloat16. Shared: bytes a block. Spills: bytes a thread. Loop: 80 mma.sync, 90 wgmma.\n");
        foreach (string architecture in new[] { "sm_80", "sm_90a" })
        {
            foreach (PipelineDescriptor pipeline in ReadyPipelines.All)
            {
                foreach (KernelVariant variant in s_variants)
                    Add(table, pipeline, variant, architecture);
            }
        }
        Snapshot.Match("KernelBudgets", "kernels.txt", table.ToString());
    }

    private static void Add(StringBuilder table, PipelineDescriptor pipeline, KernelVariant variant, string architecture)
    {
        CompiledKernel compiled = KernelCompiler.Compile(
            new KernelSource(pipeline.Name.Replace('-', '_'), pipeline.CudaSource, [typeof(ReadyPipelines).Assembly]),
            new() { Architecture = architecture, HeadDim = variant.HeadDim, Element = variant.Element, Output = variant.Output, Verbose = true });
        Assert.Empty(compiled.Faults);
        string title = $"{pipeline.Name}, {architecture}, head dim {variant.HeadDim}";
        table.Append(CultureInfo.InvariantCulture, $"\n{title,-48}{"loop",5}{"threads",9}{"registers",11}{"shared",8}{"spills",8}{"wgmma",7}{"mma",6}\n");
        foreach (EntryReport entry in compiled.Entries.OrderBy(entry => entry.Name, StringComparer.Ordinal))
        {
            LaunchShape shape = compiled.Shapes[entry.Name];
            table.Append(CultureInfo.InvariantCulture,
                $"  {entry.Name,-46}{shape.MainLoop,5}{shape.Threads,9}{entry.Registers,11}{shape.SharedBytes + entry.SharedBytes,8}{entry.SpillStoreBytes + entry.SpillLoadBytes,8}{entry.Wgmma,7}{entry.Mma,6}\n");
        }
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
