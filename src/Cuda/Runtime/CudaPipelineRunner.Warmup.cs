using System.Diagnostics;

namespace AttnCompose.Cuda;

// Compiling ahead of the first call.
public sealed partial class CudaPipelineRunner
{
    /// <summary>Compiles the kernels of several variants, in worker processes where the program can be one, and loads them.</summary>
    internal void Warmup(
        IReadOnlyList<KernelVariant> variants, int? workers, IProgress<WarmupProgress>? progress, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(variants);
        ObjectDisposedException.ThrowIf(_disposed, this);
        foreach (KernelVariant variant in variants)
            variant.Check(_program);
        KernelVariant[] wanted = [.. variants.SelectMany(Resolved).Distinct()];
        PreparedKernel[] kernels = [.. wanted.Select(variant => _cache.Prepare(_program.Source, OptionsOf(variant)))];
        var compiledHere = new HashSet<KernelCacheKey>();
        var clock = Stopwatch.StartNew();
        int done = 0;
        KernelBatch.Run(
            kernels,
            workers ?? KernelBatch.WorkersFor(kernels.Length, CudaSettings.Current),
            (kernel, compile) => _cache.GetOrCompile(kernel, wants =>
            {
                CompiledKernel made = compile(wants);
                lock (compiledHere)
                    compiledHere.Add(wants.Key);
                return made;
            }),
            (number, _) =>
            {
                bool isCompiled;
                lock (compiledHere)
                    isCompiled = compiledHere.Contains(kernels[number].Key);
                progress?.Report(new(_program.Name, wanted[number], isCompiled, ++done, kernels.Length, clock.Elapsed));
            },
            cancellation);
        BetweenCalls(() =>
        {
            foreach (KernelVariant variant in wanted)
                ModuleFor(variant);
        });
    }

    /// <summary>See <see cref="ICudaAttentionPipeline.Warmup"/>.</summary>
    public void Warmup(
        IReadOnlyList<KernelVariant> variants, IProgress<WarmupProgress>? progress = null,
        CancellationToken cancellation = default) =>
        Warmup(variants, workers: null, progress, cancellation);
}

/// <summary>How far a warm-up is: told after each variant.</summary>
/// <param name="Pipeline">Name of the pipeline.</param>
/// <param name="Variant">What is ready now.</param>
/// <param name="IsCompiled">Whether it was compiled; else it was in the cache.</param>
/// <param name="Done">Variants that are ready.</param>
/// <param name="Total">Variants in all.</param>
/// <param name="Elapsed">Time since the beginning.</param>
public sealed record WarmupProgress(
    string Pipeline, KernelVariant Variant, bool IsCompiled, int Done, int Total, TimeSpan Elapsed);
