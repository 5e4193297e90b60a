using System.Collections.Concurrent;

namespace AttnCompose.Cuda.Tests;

/// <summary>
/// CUDA texts through the compiler, each once for all tests of the process. Worker processes compile, so that tests which run
/// beside each other also compile beside each other: NVRTC works on one program at a time inside a process.
/// </summary>
internal static class CompiledTexts
{
    private static readonly ConcurrentDictionary<(string Text, CompileOptions Options), Lazy<CompiledKernel>> s_kernels = new();
    private static readonly ConcurrentBag<KernelWorkerProcess> s_idle = [];

    /// <summary>The kernels of a text, with the assembler's report.</summary>
    /// <exception cref="KernelCompilationException">The text does not compile.</exception>
    public static CompiledKernel Get(KernelSource source, CompileOptions options)
    {
        options = options with { Verbose = true };
        return s_kernels.GetOrAdd((source.CudaText, options), _ => new(() => Compile(source, options))).Value;
    }

    private static CompiledKernel Compile(KernelSource source, CompileOptions options)
    {
        IReadOnlyList<DeviceHeader> headers = DeviceHeaders.Collect(source);
        var kernel = new PreparedKernel(
            source, options, headers, KernelCacheKey.Compute(source, headers, options, KernelCompiler.Identity));
        if (!s_idle.TryTake(out KernelWorkerProcess? worker))
            worker = new(Program.Command("attncompose-kernel-worker"), CancellationToken.None);
        try
        {
            return worker.Compile(kernel) ?? throw new InvalidOperationException("A worker ended before its time, or found no compiler.");
        }
        finally
        {
            s_idle.Add(worker); // it ends with this process
        }
    }
}
