using System.Diagnostics;

namespace AttnCompose.Cuda;

// Compiling ahead of the first call.
public sealed partial class CudaPipelineRunner
{
    /// <summary>See <see cref="ICudaAttentionPipeline.Warmup"/>.</summary>
    public void Warmup(
        IReadOnlyList<KernelVariant> variants, IProgress<WarmupProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(variants);
        ObjectDisposedException.ThrowIf(_disposed, this);
        foreach (KernelVariant variant in variants)
            variant.Check(_program);
        KernelVariant[] wanted = [.. variants.SelectMany(Resolved).Distinct()];
        PreparedKernel[][] programs = [.. wanted.Select(variant => _cache.PreparePrograms(_program.Source, OptionsOf(variant)))];
        int[] variantOf = [.. programs.SelectMany((each, variant) => Enumerable.Repeat(variant, each.Length))];
        int[] left = [.. programs.Select(each => each.Length)];
        var isCompiled = new bool[wanted.Length];
        var clock = Stopwatch.StartNew();
        int done = 0;
        KernelBatch.Get(
            _cache, [.. programs.SelectMany(each => each)], KernelWorkers.Current,
            (number, _, isNew) =>
            {
                int variant = variantOf[number];
                isCompiled[variant] |= isNew;
                if (--left[variant] == 0)
                    progress?.Report(new(_program.Name, wanted[variant], isCompiled[variant], ++done, wanted.Length, clock.Elapsed));
            },
            cancellation);
        BetweenCalls(() =>
        {
            foreach (KernelVariant variant in wanted)
                KernelsFor(variant);
        });
    }
}

/// <summary>How far a warm-up is: told after each variant.</summary>
/// <param name="Pipeline">Name of the pipeline.</param>
/// <param name="Variant">What is ready now.</param>
/// <param name="IsCompiled">Whether any kernel of it was compiled; else all were in the cache.</param>
/// <param name="Done">Variants that are ready.</param>
/// <param name="Total">Variants in all.</param>
/// <param name="Elapsed">Time since the beginning.</param>
public sealed record WarmupProgress(
    string Pipeline, KernelVariant Variant, bool IsCompiled, int Done, int Total, TimeSpan Elapsed);
