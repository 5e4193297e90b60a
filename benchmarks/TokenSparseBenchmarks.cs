using BenchmarkDotNet.Attributes;

namespace AttnCompose.Benchmarks;

/// <summary>Whole calls of the two ready pipelines at 8192 tokens, half of them kept, 4 heads of 128, on all processors.</summary>
[InProcess]
[MemoryDiagnoser]
public class TokenSparseBenchmarks
{
    private TokenSparseCase? _case;

    /// <summary>Makes the inputs and finds the coverage.</summary>
    [GlobalSetup]
    public void SetUp() => _case = new TokenSparseCase(0, 8192, 128, 4, keep: 0.5);

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void CleanUp() => _case?.Dispose();

    /// <summary>dense-attention.</summary>
    [Benchmark(Baseline = true)]
    public void Dense() => _case!.RunDense();

    /// <summary>token-sparse-prefill, selection included.</summary>
    [Benchmark]
    public void TokenSparse() => _case!.RunSparse();
}
