using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>
/// A pipeline whose stages take tensors from the caller, called as one whose stages take none: each call has random ones of a fixed
/// seed (<see cref="DrawnTensors"/>). For measuring time, which such weights do not change beside how much they choose.
/// </summary>
public sealed class DrawnTensorsPipeline : ICudaAttentionPipeline
{
    private const int Seed = 1;

    private readonly IAttentionPipeline _pipeline;
    private ProblemShape _shape;
    private StageTensors? _host;
    private DrawnTensors.OnDevice? _onDevice;

    private DrawnTensorsPipeline(IAttentionPipeline pipeline) => _pipeline = pipeline;

    /// <inheritdoc/>
    public AttentionDevice Device => _pipeline.Device;

    /// <inheritdoc/>
    public PipelinePlan PipelinePlan => _pipeline.PipelinePlan;

    /// <summary>The pipeline itself where its stages take no tensors.</summary>
    public static IAttentionPipeline Of(IAttentionPipeline pipeline)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        return pipeline.PipelinePlan.Tensors.Count == 0 ? pipeline : new DrawnTensorsPipeline(pipeline);
    }

    /// <inheritdoc/>
    public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged
    {
        Turn(ShapeOf(arguments.Query.Lengths, arguments.Key.Lengths));
        _host ??= Drawn().Host();
        _pipeline.Run(arguments with { Tensors = _host });
    }

    /// <inheritdoc/>
    public void Run<T, TOut>(in CudaAttentionArguments<T, TOut> arguments, CudaStream? stream = null)
        where T : unmanaged
        where TOut : unmanaged
    {
        Turn(ShapeOf(arguments.Query.Lengths, arguments.Key.Lengths));
        _onDevice ??= Drawn().CopyTo((CudaDevice)Device);
        ((ICudaAttentionPipeline)_pipeline).Run(arguments with { Tensors = _onDevice.Tensors }, stream);
    }

    /// <inheritdoc/>
    public void Warmup(
        IReadOnlyList<KernelVariant> variants, IProgress<WarmupProgress>? progress = null, CancellationToken cancellation = default) =>
        ((ICudaAttentionPipeline)_pipeline).Warmup(variants, progress, cancellation);

    /// <inheritdoc/>
    public void Dispose()
    {
        _onDevice?.Dispose();
        _pipeline.Dispose();
    }

    private static ProblemShape ShapeOf(ReadOnlySpan<nint> query, ReadOnlySpan<nint> key) =>
        new((int)query[0], (int)query[1], (int)key[1], (int)query[2], (int)key[2], (int)query[3]);

    private DrawnTensors Drawn() => new(PipelinePlan.Tensors, in _shape, Seed);

    // What was drawn for another shape is of no use.
    private void Turn(ProblemShape shape)
    {
        if (shape == _shape)
            return;
        _shape = shape;
        _host = null;
        _onDevice?.Dispose();
        _onDevice = null;
    }
}
