using System.Runtime.CompilerServices;

namespace AttnCompose.Cpu;

/// <summary>
/// The part of a call on the CPU that is the same for every pipeline: checks the arguments, pins the tensors, refuses
/// overlapping calls, and hands a <see cref="CpuProblem{T, TOut}"/> to the generated stages.
/// </summary>
public sealed class CpuPipelineRunner : IDisposable
{
    private readonly CpuExecution _cpu;
    private readonly AttentionMask _mask;
    private readonly int _headDim;
    private readonly ElementType _element;
    private readonly string _name;
    private readonly TokenSelection _ownSelection = new();
    private readonly BlockMask _ownBlocks = new();
    private int _busy;
    private bool _disposed;

    /// <summary>A runner for one pipeline instance.</summary>
    /// <param name="device">The device.</param>
    /// <param name="name">Name of the pipeline, for messages.</param>
    /// <param name="mask">The declared mask.</param>
    /// <param name="headDim">The declared head dim, or 0.</param>
    /// <param name="element">The declared element type, or any.</param>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public CpuPipelineRunner(CpuDevice device, string name, AttentionMask mask, int headDim, ElementType element)
    {
        device.Workers.ThrowIfDisposed();
        _cpu = new CpuExecution(device);
        (_name, _mask, _headDim, _element) = (name, mask, headDim, element);
    }

    /// <summary>Scratch bytes that the largest call so far used.</summary>
    public long ScratchBytes => _cpu.ScratchBytes;

    /// <summary>Runs a pipeline's stages over the arguments.</summary>
    public void Run<TPipeline, T, TOut>(TPipeline pipeline, in AttentionArguments<T, TOut> arguments)
        where TPipeline : class, ICpuPipeline
        where T : unmanaged
        where TOut : unmanaged => Run(pipeline, in arguments, default);

    /// <summary>Runs a pipeline's stages over the arguments and the span arguments of its rules.</summary>
    public unsafe void Run<TPipeline, T, TOut>(TPipeline pipeline, in AttentionArguments<T, TOut> arguments, RuleSpans rules)
        where TPipeline : class, ICpuPipeline
        where T : unmanaged
        where TOut : unmanaged
    {
        ObjectDisposedException.ThrowIf(_disposed, pipeline);
        ProblemShape shape = ArgumentChecks.Check(in arguments, _name, _mask, _headDim, _element);
        BlockStages? blocks = pipeline.Blocks;
        ArgumentChecks.CheckBlocks(arguments.Blocks, in shape, _name, blocks);
        ArgumentChecks.CheckDenseHeads(arguments.DenseHeads, in shape, _name, blocks);
        rules.Check(in shape);
        StageTensors.Check(arguments.Tensors, _name, pipeline.Tensors, in shape);
        Begin();
        try
        {
            if (shape.IsEmpty)
                return;
            fixed (T* query = &arguments.Query.GetPinnableReference())
            fixed (T* key = &arguments.Key.GetPinnableReference())
            fixed (T* value = &arguments.Value.GetPinnableReference())
            fixed (TOut* output = &arguments.Output.GetPinnableReference())
            fixed (float* logSumExp = &arguments.LogSumExp.GetPinnableReference())
            fixed (int* keyLengths = arguments.KeyLengths)
            fixed (int* queryLengths = arguments.QueryLengths)
            fixed (byte* r0 = rules[0], r1 = rules[1], r2 = rules[2], r3 = rules[3])
            fixed (byte* r4 = rules[4], r5 = rules[5], r6 = rules[6], r7 = rules[7])
            {
                ArgumentChecks.CheckOutputMemory(in arguments, in shape);
                var inputs = new CpuInputs<T>(
                    in shape,
                    View(query, arguments.Query.Lengths, arguments.Query.Strides),
                    View(key, arguments.Key.Lengths, arguments.Key.Strides),
                    View(value, arguments.Value.Lengths, arguments.Value.Strides),
                    keyLengths, queryLengths,
                    arguments.Scale ?? 1 / MathF.Sqrt(shape.HeadDim), _mask);
                bool wantsLse = !arguments.LogSumExp.IsEmpty;
                ReadOnlySpan<nint> lse = arguments.LogSumExp.Strides;
                var problem = new CpuProblem<T, TOut>(
                    in inputs, View(output, arguments.Output.Lengths, arguments.Output.Strides),
                    wantsLse ? logSumExp : null, wantsLse ? lse[0] : 0, wantsLse ? lse[1] : 0, wantsLse ? lse[2] : 0);
                // Empty until a selector fills it, so that a dense pipeline does not leave another call's selection in place.
                arguments.Selection?.Reset(0, 0, 0);
                _cpu.Selection = arguments.Selection ?? _ownSelection;
                arguments.BlockSelection?.Clear();
                _cpu.Blocks = BlocksFor(in arguments, in shape, blocks);
                byte** pinned = stackalloc byte*[] { r0, r1, r2, r3, r4, r5, r6, r7 };
                for (int i = 0; i < rules.Count; i++)
                    _cpu.SetRuleSpan(i, pinned[i], rules.LengthOf(i));
                _cpu.PinTensors(arguments.Tensors, pipeline.Tensors);
                pipeline.Execute(in problem, _cpu);
            }
        }
        finally
        {
            _cpu.Selection = _ownSelection;
            _cpu.Blocks = _ownBlocks;
            _cpu.Reset();
            Volatile.Write(ref _busy, 0);
        }
    }

    /// <summary>Does something that no call may see half done.</summary>
    /// <exception cref="InvalidOperationException">A call is running.</exception>
    public void BetweenCalls(Action change)
    {
        ArgumentNullException.ThrowIfNull(change);
        Begin();
        try
        {
            change();
        }
        finally
        {
            Volatile.Write(ref _busy, 0);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _cpu.Dispose();
    }

    private BlockMask BlocksFor<T, TOut>(in AttentionArguments<T, TOut> arguments, in ProblemShape shape, BlockStages? stages)
        where T : unmanaged
        where TOut : unmanaged
    {
        if (stages is not (var selector, var kernel) || selector.IsGiven)
            return arguments.Blocks ?? _ownBlocks;
        BlockMask blocks = arguments.BlockSelection ?? _ownBlocks;
        blocks.Reset(
            shape.Batch, shape.QueryHeads, shape.QueryLength, shape.KeyLength, kernel.BlockQuery, kernel.BlockKey,
            selector.HasColumns, selector.HasSlashes);
        blocks.DenseHeads = arguments.DenseHeads;
        return blocks;
    }

    private void Begin()
    {
        if (Interlocked.Exchange(ref _busy, 1) != 0)
            throw new InvalidOperationException($"{_name}: a call is running on this instance already. Make one instance a thread.");
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe TensorView<TElement> View<TElement>(TElement* data, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
        where TElement : unmanaged =>
        new(data, (int)lengths[0], (int)lengths[1], (int)lengths[2], (int)lengths[3], strides[0], strides[1], strides[2]);
}
