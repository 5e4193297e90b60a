using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Cli;

/// <summary>
/// The text of <c>doctor --kernels</c>: what the compiler at hand makes of every kernel, and what no kernel may have.
/// </summary>
internal static class KernelReport
{
    private const string Columns = "head dim, types                  loop       threads  registers  shared  spills  wgmma   mma";

    /// <summary>Compiles pipelines for an architecture and writes a line for each kernel.</summary>
    /// <param name="output">Where the lines go.</param>
    /// <param name="error">Where progress goes.</param>
    /// <param name="pipelines">What to compile,</param>
    /// <param name="variants">each for all of these.</param>
    /// <param name="architecture">Such as <c>sm_90a</c>.</param>
    /// <returns>Whether all of them are as they should be.</returns>
    public static bool Write(
        TextWriter output, TextWriter error, IReadOnlyList<KernelSource> pipelines, IReadOnlyList<KernelVariant> variants,
        string architecture)
    {
        var all = pipelines.SelectMany(source => source.Programs())
            .SelectMany(program => variants.Select(variant => (Source: program, Variant: variant))).ToArray();
        IReadOnlyList<CompiledKernel> compiled = KernelCompiler.CompileAll(
            [.. all.Select(each => (each.Source, Options(each.Variant, architecture)))], new Progress(error, all.Length));
        int kernels = 0, faults = 0;
        var reports =
            from text in all.Zip(compiled)
            from report in text.Second.Entries
            group (text.First.Variant, Kernel: text.Second, Report: report) by report.Name;
        foreach (var entry in reports)
        {
            output.WriteLine(entry.Key);
            output.WriteLine($"  {Columns}");
            foreach (var (variant, kernel, report) in entry)
            {
                output.WriteLine($"  {Line(variant, report, kernel.Shapes.GetValueOrDefault(entry.Key))}");
                kernels++;
            }
        }
        foreach (var ((source, variant), kernel) in all.Zip(compiled))
        {
            foreach (string fault in kernel.Faults)
            {
                output.WriteLine($"FAULT {source.Name}, {variant}: {fault}");
                faults++;
            }
        }
        output.WriteLine(Text(
            $"{kernels} kernels in {pipelines.Count * variants.Count} texts for {architecture} by NVRTC {KernelCompiler.Version}: {faults} faults"));
        return faults == 0 && kernels > 0;
    }

    /// <summary>A line every few kernels: compiling them takes from seconds to minutes.</summary>
    private sealed class Progress(TextWriter error, int total) : IProgress<int>
    {
        private const int Step = 32;

        public void Report(int value)
        {
            if (value % Step == 0 && value < total)
                error.WriteLine(Text($"{value} of {total} kernels are compiled"));
        }
    }

    private static CompileOptions Options(KernelVariant variant, string architecture) => new()
    {
        Architecture = architecture,
        HeadDim = variant.HeadDim,
        Element = variant.Element,
        Output = variant.Output,
        Verbose = true,
    };

    private static string Line(KernelVariant variant, EntryReport entry, LaunchShape shape)
    {
        string types = variant.Output == variant.Element ? $"{variant.Element}" : $"{variant.Element} to {variant.Output}";
        string loop = shape.MainLoop switch { 90 => "wgmma", 80 => "mma.sync", _ => "-" };
        (int shared, int spills) = (shape.SharedBytes + entry.SharedBytes, entry.SpillStoreBytes + entry.SpillLoadBytes);
        return Text($"{variant.HeadDim,3}, {types,-28}{loop,-9}")
            + Text($"{shape.Threads,9}{entry.Registers,11}{shared,8}{spills,8}{entry.Wgmma,7}{entry.Mma,6}");
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
