using System.Numerics.Tensors;

namespace AttnCompose;

/// <summary>An attention pipeline bound to a device. The source generator implements it on declared pipelines.</summary>
/// <remarks>An instance serves one call at a time: a second one that overlaps throws. Make one instance a thread.</remarks>
public interface IAttentionPipeline : IDisposable
{
    /// <summary>Where it runs.</summary>
    AttentionDevice Device { get; }

    /// <summary>Name, parameters, stages, kernels and buffers.</summary>
    PipelinePlan PipelinePlan { get; }

    /// <summary>Computes attention over host memory.</summary>
    /// <exception cref="ArgumentException">A shape, stride or length does not fit; nothing was computed.</exception>
    /// <exception cref="NotSupportedException">The pipeline does not take this element type or head dim.</exception>
    /// <exception cref="InvalidOperationException">The pipeline is on another device, or a call is running already.</exception>
    /// <exception cref="ObjectDisposedException">The pipeline or its device was disposed.</exception>
    void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged;
}

/// <summary>The short forms of a call.</summary>
public static class AttentionPipelineExtensions
{
    /// <summary>Computes attention over host memory; see <see cref="AttentionArguments{T, TOut}"/> for the shapes.</summary>
    public static void Run<T, TOut>(
        this IAttentionPipeline pipeline,
        ReadOnlyTensorSpan<T> query, ReadOnlyTensorSpan<T> key, ReadOnlyTensorSpan<T> value, TensorSpan<TOut> output)
        where T : unmanaged
        where TOut : unmanaged =>
        pipeline.Run(new AttentionArguments<T, TOut> { Query = query, Key = key, Value = value, Output = output });

    /// <summary>Computes attention over host memory; see <see cref="AttentionArguments{T, TOut}"/> for the shapes.</summary>
    public static void Run<T, TOut>(
        this IAttentionPipeline pipeline,
        TensorSpan<T> query, TensorSpan<T> key, TensorSpan<T> value, TensorSpan<TOut> output)
        where T : unmanaged
        where TOut : unmanaged =>
        pipeline.Run(new AttentionArguments<T, TOut> { Query = query, Key = key, Value = value, Output = output });
}
