using System.Runtime.CompilerServices;
using AttnCompose.Cpu;

namespace AttnCompose.Cuda;

/// <summary>
/// The part of a call on a CUDA device that is the same for every pipeline: checks the arguments, compiles and loads the
/// kernels of a head dim and element type once, keeps workspace for each stream, refuses overlapping calls, and hands a
/// <see cref="CudaLaunch"/> to the generated code.
/// </summary>
public sealed partial class CudaPipelineRunner : IDisposable
{
    private readonly CudaProgram _program;
    private readonly KernelCache _cache;
    private readonly WorkspacePool _pool;
    private readonly CudaLaunch _launch;
    private readonly List<(KernelVariant Variant, CudaKernels Kernels)> _loaded = [];
    private int _busy;
    private bool _disposed;

    /// <summary>A runner for one pipeline instance.</summary>
    public CudaPipelineRunner(CudaDevice device, CudaProgram program)
        : this(device, program, KernelCache.Default, CudaSettings.Current.SynchronizeLaunches)
    {
    }

    internal CudaPipelineRunner(CudaDevice device, CudaProgram program, KernelCache cache, bool synchronize)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(program);
        (Device, _program, _cache) = (device, program, cache);
        _pool = new WorkspacePool(device);
        _launch = new CudaLaunch(device, synchronize);
    }

    /// <summary>The device.</summary>
    public CudaDevice Device { get; }

    /// <summary>Bytes of device memory held as workspace, over all streams.</summary>
    public long WorkspaceBytes => _pool.Bytes;

    /// <summary>Bytes of workspace that a problem needs. Compiles the kernels where they have not been.</summary>
    /// <exception cref="KernelCompilationException">They do not compile for this device.</exception>
    public long WorkspaceBytesFor<T, TOut>(ICudaPipeline pipeline, in ProblemShape shape)
        where T : unmanaged
        where TOut : unmanaged
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        var workspace = new CudaWorkspace();
        CudaArgumentChecks.CheckElements<T, TOut>(_program);
        CudaTuning tuning = TuningFor(in shape, ElementConvert.TypeOf<T>());
        workspace.Clear(GatherRoom(KernelsFor(VariantOf<T, TOut>(in shape, tuning)), in shape, tuning));
        Describe(pipeline, workspace, in shape, ownSelection: _program.SelectsTokens);
        ReserveBlocks(workspace, OwnBlocks(pipeline, in shape));
        return workspace.TotalBytes;
    }

    /// <summary>
    /// Compiles and loads the kernels of a head dim and element type, so that the first call does not have to: those of each tile
    /// shape that the device's tuning has for them.
    /// </summary>
    /// <returns>Those of long calls.</returns>
    /// <exception cref="KernelCompilationException">They do not compile for this device.</exception>
    public CudaKernels Prepare<T, TOut>(int headDim)
        where T : unmanaged
        where TOut : unmanaged
    {
        CudaArgumentChecks.CheckElements<T, TOut>(_program);
        KernelVariant variant = new(headDim, ElementConvert.TypeOf<T>(), ElementConvert.TypeOf<TOut>());
        CudaKernels[] kernels = [.. Resolved(variant).Select(KernelsFor)];
        return kernels[^1];
    }

    /// <summary>Puts a pipeline's kernels on a stream.</summary>
    public void Run<T, TOut>(ICudaPipeline pipeline, in CudaAttentionArguments<T, TOut> arguments, CudaStream? stream = null)
        where T : unmanaged
        where TOut : unmanaged => Run(pipeline, in arguments, [], stream);

    /// <summary>Puts a pipeline's kernels on a stream, with the span arguments of its rules.</summary>
    public void Run<T, TOut>(
        ICudaPipeline pipeline, in CudaAttentionArguments<T, TOut> arguments, ReadOnlySpan<CudaRuleSpan> rules, CudaStream? stream = null)
        where T : unmanaged
        where TOut : unmanaged
    {
        Begin(pipeline);
        try
        {
            RunCore(pipeline, in arguments, rules, CudaTensor.StreamOf(Device, stream));
        }
        finally
        {
            End();
        }
    }

    /// <summary>Does something that no call may see half done.</summary>
    /// <exception cref="InvalidOperationException">A call is running.</exception>
    public void BetweenCalls(Action change)
    {
        ArgumentNullException.ThrowIfNull(change);
        Begin(this);
        try
        {
            change();
        }
        finally
        {
            End();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _pool.Dispose();
        _launch.Dispose();
        DisposeHostBuffers();
        GC.SuppressFinalize(this);
    }

    private void Begin(object caller)
    {
        ArgumentNullException.ThrowIfNull(caller);
        ObjectDisposedException.ThrowIf(_disposed, caller);
        if (Interlocked.Exchange(ref _busy, 1) != 0)
            throw new InvalidOperationException(
                $"{_program.Name}: a call is running on this instance already. Make one instance a thread.");
    }

    private void End()
    {
        _launch.Close();
        Volatile.Write(ref _busy, 0);
    }

    private void RunCore<T, TOut>(
        ICudaPipeline pipeline, in CudaAttentionArguments<T, TOut> arguments, ReadOnlySpan<CudaRuleSpan> rules, CudaStream stream)
        where T : unmanaged
        where TOut : unmanaged
    {
        ProblemShape shape = CudaArgumentChecks.Check(in arguments, _program, Device, pipeline.Blocks);
        foreach (CudaRuleSpan rule in rules)
            rule.Check(Device, in shape);
        CudaStageTensors.Check(arguments.Tensors, _program.Name, pipeline.Tensors, Device, in shape);
        if (shape.IsEmpty)
            return;
        CudaTuning tuning = TuningFor(in shape, ElementConvert.TypeOf<T>());
        KernelVariant variant = VariantOf<T, TOut>(in shape, tuning);
        CudaKernels kernels = Loaded(variant) ?? LoadOutsideCapture(variant, stream);
        bool ownSelection = _program.SelectsTokens && arguments.Selection is null;
        CudaWorkspace workspace = _launch.Workspace;
        workspace.Clear(GatherRoom(kernels, in shape, tuning));
        SelectionOffsets offsets = Describe(pipeline, workspace, in shape, ownSelection);
        CudaBlockMask? blockMask = arguments.Blocks ?? arguments.BlockSelection;
        BlockListShape? ownBlocks = blockMask is null ? OwnBlocks(pipeline, in shape) : null;
        BlockListOffsets blockOffsets = ReserveBlocks(workspace, ownBlocks);
        ICudaRunObserver? observer = Device.Observer;
        if (observer is not null)
            workspace.Reserve(observer.GuardBytes);
        nint memory = _pool.Take(stream, workspace.TotalBytes);
        DeviceTokenIndex tokens = arguments.Selection?.Index ?? default;
        if (ownSelection)
        {
            tokens = new DeviceTokenIndex
            {
                Positions = memory + (nint)offsets.Positions,
                KeyCount = memory + (nint)offsets.KeyCount,
                QueryBegin = memory + (nint)offsets.QueryBegin,
                Capacity = shape.KeyLength,
            };
        }
        DeviceBlockList blocks = ownBlocks is { } own ? blockOffsets.List(own, memory) : blockMask?.List ?? default;
        blocks.DenseHeads = arguments.DenseHeads;
        DeviceProblem problem = ProblemOf(in arguments, in shape);
        _launch.Open(
            kernels, stream, tuning, variant.Element, in shape, in problem, in tokens, in blocks, rules,
            arguments.Tensors, memory);
        observer?.BeforeLaunch(workspace, CudaTensor.Dense<byte>(Device, memory, [(nint)workspace.TotalBytes]), stream);
        pipeline.Launch(_launch);
        _launch.Submit();
        observer?.AfterLaunch(workspace, CudaTensor.Dense<byte>(Device, memory, [(nint)workspace.TotalBytes]), stream);
        // The kernels are on the stream now; freeing a tensor waits for them.
        GC.KeepAlive(arguments.Query);
        GC.KeepAlive(arguments.Key);
        GC.KeepAlive(arguments.Value);
        GC.KeepAlive(arguments.Output);
        GC.KeepAlive(arguments.LogSumExp);
        GC.KeepAlive(arguments.KeyLengths);
        GC.KeepAlive(arguments.QueryLengths);
        GC.KeepAlive(arguments.Selection);
        GC.KeepAlive(blockMask);
        GC.KeepAlive(arguments.Tensors);
        foreach (CudaRuleSpan rule in rules)
            rule.KeepAlive();
    }

    /// <summary>
    /// The one place that chooses whether keys and values are gathered ahead of the attention loop: how many bytes they may take,
    /// 0 where the loop copies them itself.
    /// </summary>
    private long GatherRoom(CudaKernels kernels, in ProblemShape shape, CudaTuning tuning)
    {
        if (_program.GatheredEntry is null || shape.QueryLength < tuning.GatherLength || shape.KeyLength == 0)
            return 0;
        bool hasCopyEngine = kernels.Kernel(_program.GatheredEntry).Shape.BoxRows > 0;
        return hasCopyEngine ? tuning.MaxWorkspace : 0;
    }

    private static SelectionOffsets Describe(
        ICudaPipeline pipeline, CudaWorkspace workspace, in ProblemShape shape, bool ownSelection)
    {
        pipeline.DescribeWorkspace(in shape, workspace);
        if (!ownSelection)
            return default;
        long heads = (long)shape.Batch * shape.QueryHeads;
        return new(
            workspace.Reserve(checked(heads * shape.KeyLength * sizeof(int))),
            workspace.Reserve(heads * sizeof(int)),
            workspace.Reserve(heads * sizeof(int)));
    }

    /// <summary>The block list that an instance keeps for itself; null where the list is the caller's or there is none.</summary>
    private static BlockListShape? OwnBlocks(ICudaPipeline pipeline, in ProblemShape shape) =>
        pipeline.Blocks is ({ IsGiven: false } selector, var kernel) ? CudaArgumentChecks.BlocksOf(in shape, selector, kernel) : null;

    private static BlockListOffsets ReserveBlocks(CudaWorkspace workspace, BlockListShape? blocks)
    {
        if (blocks is not { } shape)
            return default;
        var sizes = new BlockListSizes(shape);
        return new(
            workspace.Reserve(sizes.BitmapBytes), workspace.Reserve(sizes.BitmapBytes), workspace.Reserve(sizes.ColumnBytes),
            workspace.Reserve(sizes.ColumnCountBytes), workspace.Reserve(sizes.SlashBytes));
    }

    private CudaTuning TuningFor(in ProblemShape shape, ElementType element) =>
        Device.TuningFor(shape.HeadDim, element, _program.Mask, shape.QueryLength);

    private KernelVariant VariantOf<T, TOut>(in ProblemShape shape, CudaTuning tuning)
        where T : unmanaged
        where TOut : unmanaged =>
        new(shape.HeadDim, ElementConvert.TypeOf<T>(), ElementConvert.TypeOf<TOut>())
        {
            Tile = TileOf(tuning, shape.HeadDim, shape.QueryLength),
        };

    /// <summary>
    /// The shape of tiles of a call; null where it would be the same kernels as with none. A loop that copies rows itself has one shape.
    /// </summary>
    private AttentionTile? TileOf(CudaTuning tuning, int headDim, int queryLength) =>
        tuning.AttentionTile is { } tile && _program.HasTileChoice && Device.ComputeCapability.Major == 9
            && (_program.GatheredEntry is null || queryLength >= tuning.GatherLength)
            && AttentionTile.OthersFor(headDim).Contains(tile)
            ? tile
            : null;

    /// <summary>What is compiled for a variant: the kernels of calls of all lengths, under the device's tuning; those of the longest last.</summary>
    private IEnumerable<KernelVariant> Resolved(KernelVariant variant)
    {
        if (variant.Tile is { } given)
            return [variant with { Tile = TileOf(new() { AttentionTile = given }, variant.HeadDim, int.MaxValue) }];
        var tiles = new List<AttentionTile?>();
        foreach (int length in (int[])[int.MaxValue - 1, TuningClass.LongFrom, TuningClass.LongFrom - 1, 1])
        {
            CudaTuning tuning = Device.TuningFor(variant.HeadDim, variant.Element, _program.Mask, length);
            tiles.Add(TileOf(tuning, variant.HeadDim, length));
        }
        return tiles.Distinct().Reverse().Select(tile => variant with { Tile = tile });
    }

    private CudaKernels KernelsFor(KernelVariant variant) => Loaded(variant) ?? Load(variant);

    private CudaKernels? Loaded(KernelVariant variant)
    {
        foreach (var known in _loaded)
        {
            if (known.Variant == variant)
                return known.Kernels;
        }
        return null;
    }

    private CudaKernels LoadOutsideCapture(KernelVariant variant, CudaStream stream)
    {
        stream.RefuseCapture($"Loading kernels for {variant}");
        return Load(variant);
    }

    private CudaKernels Load(KernelVariant variant)
    {
        CudaKernels kernels = CudaKernels.Load(Device, _cache, _program.Source, OptionsOf(variant));
        _loaded.Add((variant, kernels));
        return kernels;
    }

    private CompileOptions OptionsOf(KernelVariant variant) => new()
    {
        Architecture = Device.Architecture,
        HeadDim = variant.HeadDim,
        Element = variant.Element,
        Output = variant.Output,
        AttentionTile = variant.Tile,
        Delays = CudaSettings.Current.DelayBarriers,
    };

    private static DeviceProblem ProblemOf<T, TOut>(in CudaAttentionArguments<T, TOut> arguments, in ProblemShape shape)
        where T : unmanaged
        where TOut : unmanaged => new()
        {
            Query = arguments.Query.Pointer,
            Key = arguments.Key.Pointer,
            Value = arguments.Value.Pointer,
            Output = arguments.Output.Pointer,
            LogSumExp = arguments.LogSumExp?.Pointer ?? 0,
            KeyLengths = arguments.KeyLengths?.Pointer ?? 0,
            QueryLengths = arguments.QueryLengths?.Pointer ?? 0,
            QueryStrides = Strides(arguments.Query),
            KeyStrides = Strides(arguments.Key),
            ValueStrides = Strides(arguments.Value),
            OutputStrides = Strides(arguments.Output),
            LogSumExpStrides = arguments.LogSumExp is { } lse ? Strides(lse) : default,
            Batch = shape.Batch,
            QueryHeads = shape.QueryHeads,
            KeyValueHeads = shape.KeyValueHeads,
            QueryLength = shape.QueryLength,
            KeyLength = shape.KeyLength,
            HeadDim = shape.HeadDim,
            Scale = arguments.Scale ?? 1 / MathF.Sqrt(shape.HeadDim),
            Layer = (ushort)shape.Layer.Index,
            Layers = (ushort)shape.Layer.Count,
        };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static DeviceStrides Strides<T>(CudaTensor<T> tensor) where T : unmanaged =>
        new(tensor.Strides[0], tensor.Strides[1], tensor.Strides[2]);

    private readonly record struct SelectionOffsets(long Positions, long KeyCount, long QueryBegin);

    private readonly record struct BlockListOffsets(long Visit, long Partial, long Columns, long ColumnCount, long Slashes)
    {
        public DeviceBlockList List(BlockListShape shape, nint memory) => new BlockListSizes(shape).List(
            memory + (nint)Visit, memory + (nint)Partial, memory + (nint)Columns, memory + (nint)ColumnCount, memory + (nint)Slashes);
    }
}
