using System.Collections.Concurrent;
using System.Text.RegularExpressions;

namespace AttnCompose.Cuda.Tests;

/// <summary>
/// CUDA texts through the compiler, program by program as a pipeline's are, each once for all tests of the process: many
/// pipelines share a kernel but for its name. Worker processes compile, so that tests which run beside each other also compile
/// beside each other: NVRTC works on one program at a time inside a process.
/// </summary>
internal static partial class CompiledTexts
{
    private static readonly ConcurrentDictionary<(string Text, CompileOptions Options), Lazy<CompiledKernel>> s_kernels = new();
    private static readonly ConcurrentBag<KernelWorkerProcess> s_idle = [];

    /// <summary>
    /// The programs of a text, with the assembler's report. One that another text has too may be under the name that it has there.
    /// </summary>
    /// <exception cref="KernelCompilationException">The text does not compile.</exception>
    public static IReadOnlyList<(string Entry, CompiledKernel Kernel)> Get(KernelSource source, CompileOptions options)
    {
        return [.. source.Programs().Select(program => (program.Name, Shared(program, options with { Verbose = true })))];
    }

    /// <summary>Puts the programs of a text into the cache of this process, where pipelines on a fake device find them.</summary>
    public static void Keep(KernelSource source, CompileOptions options)
    {
        foreach (PreparedKernel program in KernelCache.Default.PreparePrograms(source, options))
        {
            KernelCache.Default.GetOrCompile(program, _ =>
            {
                CompiledKernel shared = Shared(program.Source, options with { Verbose = true });
                return shared.Name == program.Source.Name ? shared : Compile(program.Source, options);
            });
        }
    }

    /// <summary>Compiles a text for each test that asks.</summary>
    public static CompiledKernel Compile(KernelSource source, CompileOptions options)
    {
        IReadOnlyList<DeviceHeader> headers = DeviceHeaders.Collect(source);
        var kernel = new PreparedKernel(
            source, options, headers, KernelCacheKey.Compute(source, headers, options, KernelCompiler.Identity));
        if (!s_idle.TryTake(out KernelWorkerProcess? worker))
            worker = new(Program.Command("attncompose-kernel-worker"));
        try
        {
            return worker.Compile(kernel, CancellationToken.None) ?? throw new InvalidOperationException("A worker ended before its time, or found no compiler.");
        }
        finally
        {
            s_idle.Add(worker); // it ends with this process
        }
    }

    private static CompiledKernel Shared(KernelSource program, CompileOptions options) => s_kernels.GetOrAdd(
        (WithoutNeighbours(program), options), _ => new(() => Compile(program, options))).Value;

    /// <summary>
    /// What decides the machine code of an emitted program: its kernel under a name that all have, and the declarations before it
    /// that the kernel reaches by their names. Headers are the same for all texts, so which are included does not count.
    /// </summary>
    internal static string WithoutNeighbours(KernelSource program)
    {
        string text = Comment().Replace(program.CudaText, "");
        int kernelAt = text.IndexOf("\n#line ", StringComparison.Ordinal);
        if (kernelAt < 0)
            return program.CudaText; // no emitted text
        string kernel = text[(text.IndexOf('\n', kernelAt + 1) + 1)..].Replace(program.Name, "kernel", StringComparison.Ordinal);
        string before = Include().Replace(text[..(kernelAt + 1)], "");
        string others = Declaration().Replace(before, "");
        var reached = new HashSet<string>(Word().Matches(kernel + others).Select(word => word.Value));
        var kept = new Stack<string>([others + kernel]);
        // A declaration names only what is before it.
        foreach (Match declaration in Declaration().Matches(before).Reverse())
        {
            if (!reached.Contains(declaration.Groups["name"].Value))
                continue;
            kept.Push(declaration.Value);
            reached.UnionWith(Word().Matches(declaration.Value).Select(word => word.Value));
        }
        return string.Concat(kept);
    }

    [GeneratedRegex(@"[ \t]*//.*$", RegexOptions.Multiline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"^#include .*\n", RegexOptions.Multiline)]
    private static partial Regex Include();

    [GeneratedRegex(@"\w+")]
    private static partial Regex Word();

    // A struct ends with "};" at the beginning of a line, anything else on its own line. What has another form is always kept.
    [GeneratedRegex(@"^(?:struct (?<name>\w+)[^;\n]*\{\n(?:.*\n)*?\};|(?:using|namespace) (?<name>\w+) = .*;)\n\n*", RegexOptions.Multiline)]
    private static partial Regex Declaration();
}
