using BenchmarkDotNet.Attributes;

namespace AttnCompose.Benchmarks;

/// <summary>
/// Whole calls of dense attention, 4 heads of 128, on all processors. For percent of peak see <see cref="PeakReport"/>.
/// </summary>
[InProcess] // the toolchain that builds a project of its own does not know this repository's output folder
[MemoryDiagnoser]
public class DenseAttentionBenchmarks
{
    private DenseCase<float>? _single;
    private DenseCase<BFloat16>? _brain;

    /// <summary>Queries and keys.</summary>
    [Params(1024, 8192)]
    public int Length { get; set; }

    /// <summary>The mask.</summary>
    [Params(AttentionMask.Full, AttentionMask.Causal)]
    public AttentionMask Mask { get; set; }

    /// <summary>Makes the inputs.</summary>
    [GlobalSetup]
    public void SetUp()
    {
        _single = new DenseCase<float>(0, Mask, Length, 128, 4, 4);
        _brain = new DenseCase<BFloat16>(0, Mask, Length, 128, 4, 4);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void CleanUp()
    {
        _single?.Dispose();
        _brain?.Dispose();
    }

    /// <summary>float32 inputs.</summary>
    [Benchmark(Baseline = true)]
    public void Float32() => _single!.Run();

    /// <summary>bfloat16 inputs.</summary>
    [Benchmark]
    public void BFloat16Inputs() => _brain!.Run();
}
