namespace AttnCompose.Pipelines;

/// <summary>The pipelines that come with the library, for programs that choose one by name.</summary>
public static class ReadyPipelines
{
    /// <summary>All of them, by name.</summary>
    public static IReadOnlyList<PipelineDescriptor> All { get; } =
    [
        DenseAttention.Descriptor, BlockSparse.Descriptor, Streaming.Descriptor, VerticalSlash.Descriptor, Flexprefill.Descriptor,
        Antidiagonal.Descriptor, PooledTopK.Descriptor, PooledCoverage.Descriptor, GateWeights.Descriptor,
        TokenSparsePrefill.Descriptor, TokenSparseFixed.Descriptor, TokenSparseTopP.Descriptor, TokenSparsePyramid.Descriptor,
        TokenSparseAccumulated.Descriptor, TokenSparseRandom.Descriptor, TokenSparseTwilight.Descriptor,
        TokenSparseStreaming.Descriptor, TokenSparseVerticalSlash.Descriptor, TokenSparseFlexprefill.Descriptor,
        TokenSparseAntidiagonal.Descriptor, TokenSparsePooledTopK.Descriptor, TokenSparsePooledCoverage.Descriptor,
        TokenSparseGateWeights.Descriptor,
    ];

    /// <summary>The pipeline of a name such as <c>token-sparse-prefill</c>.</summary>
    /// <exception cref="ArgumentException">There is none; the message lists the names.</exception>
    public static PipelineDescriptor Find(string name) =>
        All.FirstOrDefault(pipeline => pipeline.Name == name)
        ?? throw new ArgumentException($"There is no pipeline '{name}'. There are: {string.Join(", ", All.Select(p => p.Name))}.", nameof(name));
}
