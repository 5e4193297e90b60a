using AttnCompose.Cuda;

namespace AttnCompose
{
    /// <summary>The short form of a call on device memory.</summary>
    public static class CudaAttentionPipelineExtensions
    {
        /// <summary>
        /// Puts attention over device memory on a stream; see <see cref="CudaAttentionArguments{T, TOut}"/> for the shapes.
        /// </summary>
        /// <param name="pipeline">A pipeline made on a CUDA device.</param>
        /// <param name="query">[batch, query heads, Lq, head dim].</param>
        /// <param name="key">[batch, key/value heads, Lk, head dim].</param>
        /// <param name="value">[batch, key/value heads, Lk, head dim].</param>
        /// <param name="output">[batch, query heads, Lq, head dim].</param>
        /// <param name="stream">The stream; the device's default stream where it is null.</param>
        public static void Run<T, TOut>(
            this ICudaAttentionPipeline pipeline,
            CudaTensor<T> query, CudaTensor<T> key, CudaTensor<T> value, CudaTensor<TOut> output, CudaStream? stream = null)
            where T : unmanaged
            where TOut : unmanaged
        {
            ArgumentNullException.ThrowIfNull(pipeline);
            var arguments = new CudaAttentionArguments<T, TOut> { Query = query, Key = key, Value = value, Output = output };
            pipeline.Run(in arguments, stream);
        }
    }
}

namespace AttnCompose.Cuda
{
    /// <summary>An attention pipeline that takes tensors in device memory. Generated pipelines implement it.</summary>
    public interface ICudaAttentionPipeline : IAttentionPipeline
    {
        /// <summary>Puts attention over device memory on a stream and returns; nothing waits for the device.</summary>
        /// <param name="arguments">What goes in and what comes out.</param>
        /// <param name="stream">The stream; the device's default stream where it is null.</param>
        /// <exception cref="ArgumentException">A shape, stride or alignment does not fit; nothing was launched.</exception>
        /// <exception cref="NotSupportedException">The pipeline does not take this element type, head dim or size.</exception>
        /// <exception cref="InvalidOperationException">The pipeline is on another device, or a call is running
        /// already.</exception>
        /// <exception cref="KernelCompilationException">The kernels do not compile for this device.</exception>
        /// <exception cref="CudaException">The driver refused a call.</exception>
        void Run<T, TOut>(in CudaAttentionArguments<T, TOut> arguments, CudaStream? stream = null)
            where T : unmanaged
            where TOut : unmanaged;

        /// <summary>
        /// Compiles and loads kernels ahead, so that the first call does not have to. Both compile the kernels side by side in
        /// worker processes where the program can be one (<see cref="KernelWorker"/>), else one after the other. What the kernel
        /// cache has is only loaded.
        /// </summary>
        /// <param name="variants">Head dims and element types to be ready for.</param>
        /// <param name="progress">Told after each variant, on any thread, one at a time.</param>
        /// <param name="cancellation">Stops between kernels, and ends workers at once; what was compiled is kept.</param>
        /// <exception cref="NotSupportedException">The pipeline does not take a head dim or type; nothing was compiled.</exception>
        /// <exception cref="InvalidOperationException">The pipeline is not on a CUDA device, or a call is running.</exception>
        /// <exception cref="KernelCompilationException">A variant does not compile for this device.</exception>
        /// <exception cref="CudaUnavailableException">NVRTC was not found.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        void Warmup(
            IReadOnlyList<KernelVariant> variants, IProgress<WarmupProgress>? progress = null,
            CancellationToken cancellation = default);
    }

    /// <summary>The CUDA side of a generated pipeline: the workspace that it needs and the kernels that it launches.</summary>
    public interface ICudaPipeline
    {
        /// <summary>The stages of its block list; null where it has none.</summary>
        BlockStages? Blocks => null;

        /// <summary>The tensors that its stages take from the caller.</summary>
        IReadOnlyList<TensorPlan> Tensors => [];

        /// <summary>Names the stages that have workspace buffers, in order.</summary>
        void DescribeWorkspace(in ProblemShape shape, CudaWorkspace workspace);

        /// <summary>Launches the kernels in order.</summary>
        void Launch(CudaLaunch launch);
    }

    /// <summary>What is fixed about a generated pipeline's CUDA side: a static of the generated class.</summary>
    public sealed record CudaProgram
    {
        /// <summary>Name of the pipeline, for messages.</summary>
        public required string Name { get; init; }

        /// <summary>The emitted CUDA.</summary>
        public required KernelSource Source { get; init; }

        /// <summary>The declared mask.</summary>
        public required AttentionMask Mask { get; init; }

        /// <summary>The declared head dim, or 0.</summary>
        public int HeadDim { get; init; }

        /// <summary>The declared element type, or any.</summary>
        public ElementType Element { get; init; }

        /// <summary>Element types that every stage takes on the device.</summary>
        public IReadOnlyList<ElementType> Elements { get; init; } = [ElementType.Float16, ElementType.BFloat16];

        /// <summary>Whether the pipeline has a token selection, for which memory is needed.</summary>
        public bool SelectsTokens { get; init; }

        /// <summary>Whether it has score or mask rules, which bound the positions.</summary>
        public bool HasRules { get; init; }

        /// <summary>Whether its attention loops run in the tiles that a tuning chooses: without rules and without a block list.</summary>
        public bool HasTileChoice { get; init; }

        /// <summary>The attention loop over keys and values that were gathered ahead; null where they never are.</summary>
        public string? GatheredEntry { get; init; }
    }
}
