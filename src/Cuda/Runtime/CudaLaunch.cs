using AttnCompose.Cpu;

namespace AttnCompose.Cuda;

/// <summary>
/// What generated code launches its kernels with, during one call: name a kernel, pass its arguments in order, run it.
/// <code>
/// launch.Begin("token_sparse_prefill_row_partials", PhaseScope.KeyValueHeadKeyTile);
/// launch.Pass(in launch.Problem);
/// launch.Pass(launch.Buffer(_selector, "row_partials"));
/// launch.Run();
/// </code>
/// The kernels go to the driver together when the call has named them all. Nothing is allocated from the third call of a shape
/// on.
/// </summary>
public sealed class CudaLaunch : IDisposable
{
    private readonly CallGraphs _graphs;
    private readonly TensorMapCache _maps = new();
    private readonly bool _synchronize;
    private LaunchList _call = new();
    private CudaTuning _tuning = CudaTuning.Default;
    private bool _together;
    private ElementType _element;
    private ProblemShape _shape;
    private DeviceProblem _problem;
    private DeviceTokenIndex _tokens;
    private DeviceBlockList _blocks;
    private CudaKernels? _kernels;
    private CudaStream? _stream;
    private CudaKernel? _kernel;
    private PhaseScope _scope;
    private nint _workspace;
    private readonly DeviceSpan[] _ruleSpans = new DeviceSpan[RuleSpans.Most];
    private DeviceSpan _ruleBounds;
    private CudaStageTensors? _tensors;
    private DeviceHeadRange _heads;

    internal CudaLaunch(CudaDevice device, bool synchronize) => (_graphs, _synchronize) = (new CallGraphs(device), synchronize);

    internal CudaWorkspace Workspace { get; } = new();

    /// <summary>Sizes.</summary>
    public ref readonly ProblemShape Shape => ref _shape;

    /// <summary>The first argument of every kernel: tensors, lengths and scale.</summary>
    public ref readonly DeviceProblem Problem => ref _problem;

    /// <summary>The token selection, the caller's or the instance's own; all 0 in a pipeline that selects no tokens.</summary>
    public ref readonly DeviceTokenIndex TokenIndex => ref _tokens;

    /// <summary>
    /// The block list, the caller's or the instance's own; all 0 in a pipeline whose attention kernel visits every block.
    /// </summary>
    public ref readonly DeviceBlockList BlockList => ref _blocks;

    /// <summary>Span argument <paramref name="index"/> of the pipeline's rules.</summary>
    public ref readonly DeviceSpan RuleSpan(int index) => ref _ruleSpans[index];

    /// <summary>Device address of a tensor that a stage takes from the caller (<see cref="TensorArgumentAttribute"/>).</summary>
    public nint Tensor(string name) => (_tensors ?? throw Outside()).PointerOf(name);

    /// <summary>Where the bounds of spans go that mask rules read at positions: <c>attn::rules::SpanBounds</c> of the device code.</summary>
    public ref readonly DeviceSpan RuleBounds => ref _ruleBounds;

    /// <summary>Whether selected keys and values are gathered ahead of the attention loop: see <see cref="NextHeads"/>.</summary>
    public bool GathersAhead => Workspace.HeadsAtATime > 0;

    /// <summary>The query heads that the kernels begun from here on are for; none where they are for all.</summary>
    public ref readonly DeviceHeadRange Heads => ref _heads;

    /// <summary>The stream that the kernels are put on.</summary>
    public CudaStream Stream => _stream ?? throw Outside();

    /// <summary>Device address of a stage's workspace buffer.</summary>
    /// <exception cref="KeyNotFoundException">The stage described no such buffer.</exception>
    public nint Buffer(StageAttribute stage, string name) => _workspace + (nint)Workspace.OffsetOf(stage, name);

    /// <summary>
    /// Turns to the next query heads for which keys and values are gathered ahead; false after the last ones, and at once where
    /// they are not gathered.
    /// </summary>
    public bool NextHeads()
    {
        int first = _heads.First + _heads.Count;
        int count = Math.Min(Workspace.HeadsAtATime, _shape.Batch * _shape.QueryHeads - first);
        _heads = count > 0 ? new(first, count) : default;
        return count > 0;
    }

    /// <summary>Begins a launch.</summary>
    /// <param name="entry">The entry point.</param>
    /// <param name="scope">What one block owns; with the entry's tile, this is the grid.</param>
    public CudaLaunch Begin(string entry, PhaseScope scope)
    {
        if (_kernel is not null)
            throw new InvalidOperationException($"{_kernel.Name} was begun and not run.");
        CudaKernels kernels = _kernels ?? throw Outside();
        if (kernels.Find(entry) is { } known)
        {
            _kernel = known;
        }
        else
        {
            _stream!.RefuseCapture($"Loading {entry}");
            _kernel = kernels.Kernel(entry);
        }
        _scope = scope;
        _call.NextArguments.Clear();
        return this;
    }

    /// <summary>
    /// Passes the next argument: a device address as <c>nint</c>, a number, a bool, or a struct that mirrors a device struct.
    /// </summary>
    public CudaLaunch Pass<T>(in T value) where T : unmanaged
    {
        _call.NextArguments.Add(in value);
        return this;
    }

    /// <summary>Passes the next argument at an alignment of its own, in bytes.</summary>
    public CudaLaunch Pass<T>(in T value, int alignment) where T : unmanaged
    {
        _call.NextArguments.Add(in value, alignment);
        return this;
    }

    /// <summary>
    /// Passes the tensor maps of key and value that the begun kernel copies boxes of; zeroes where it reads none, or where there
    /// are no keys.
    /// </summary>
    /// <exception cref="CudaException">The driver refuses the tensors' strides.</exception>
    public CudaLaunch PassTensorMaps()
    {
        CudaKernel kernel = _kernel ?? throw new InvalidOperationException("There is no kernel to pass to: call Begin first.");
        DeviceTensorMaps maps = default;
        if (kernel.Shape.BoxRows > 0 && _shape.KeyLength > 0)
            _maps.Encode(kernel, in _problem, in _shape, _element, out maps);
        return Pass(in maps, DeviceTensorMaps.Alignment);
    }

    /// <summary>
    /// The same for keys and values that were gathered ahead, <see cref="CudaWorkspace.HeadsAtATime"/> heads of as many rows as
    /// the key tensor has.
    /// </summary>
    /// <param name="key">Device address of the gathered keys.</param>
    /// <param name="value">Device address of the gathered values.</param>
    public CudaLaunch PassTensorMaps(nint key, nint value)
    {
        CudaKernel kernel = _kernel ?? throw new InvalidOperationException("There is no kernel to pass to: call Begin first.");
        ProblemShape gathered = _shape with { Batch = 1, KeyValueHeads = Workspace.HeadsAtATime };
        DeviceProblem problem = _problem;
        (problem.Key, problem.Value) = (key, value);
        problem.KeyStrides = problem.ValueStrides = new(0, (long)_shape.KeyLength * _shape.HeadDim, _shape.HeadDim);
        _maps.Encode(kernel, in problem, in gathered, _element, out DeviceTensorMaps maps);
        return Pass(in maps, DeviceTensorMaps.Alignment);
    }

    /// <summary>Adds the kernel to the call. A kernel whose scope has no block, for want of keys, is left out.</summary>
    /// <exception cref="NotSupportedException">Heads or batch pass what a grid can hold.</exception>
    public void Run()
    {
        CudaKernel kernel = _kernel ?? throw new InvalidOperationException("There is no kernel to run: call Begin first.");
        _kernel = null;
        int multiprocessors = kernel.Module.Device.MultiprocessorCount;
        LaunchShape shape = kernel.Shape with { Team = Math.Min(kernel.Shape.Team, _tuning.TeamBlocks) };
        LaunchGrid grid = LaunchGrid.Of(_scope, in _shape, in shape, multiprocessors, kernel.Name);
        if (_heads.Count > 0)
            grid = grid with { Y = _heads.Count, Z = 1 };
        if (grid.IsEmpty)
            return;
        kernel.Module.Device.Observer?.BeforeKernel(kernel, _stream!);
        int sharedBytes = grid.SharedBytes(in _shape, kernel.Shape);
        if (_together)
        {
            _call.Add(kernel, in grid, sharedBytes);
            return;
        }
        kernel.Launch(in grid, sharedBytes, _call.NextArguments, _stream!);
        if (_synchronize && !_stream!.IsCapturing)
            _stream.Synchronize(kernel.Name);
    }

    /// <summary>Puts the kernels of the call on the stream that are not there yet.</summary>
    internal void Submit()
    {
        if (_call.Count == 0)
            return;
        CudaStream stream = Stream;
        bool isGraph = _call.Count >= _tuning.GraphKernels && _call.Count <= CallGraphs.MostKernels;
        if (isGraph && !stream.IsCapturing)
            _graphs.Put(ref _call, stream);
        else
            _call.LaunchOn(stream);
    }

    internal void Open(
        CudaKernels kernels, CudaStream stream, CudaTuning tuning, ElementType element,
        in ProblemShape shape, in DeviceProblem problem, in DeviceTokenIndex tokens, in DeviceBlockList blocks,
        ReadOnlySpan<CudaRuleSpan> rules, CudaStageTensors? tensors, nint workspace)
    {
        for (int i = 0; i < rules.Length; i++)
            _ruleSpans[i] = rules[i].Device;
        _ruleBounds = new(workspace + (nint)Workspace.RuleBounds.Offset, Workspace.RuleBounds.Blocks);
        (_element, _tensors, _tuning) = (element, tensors, tuning);
        (_kernels, _stream, _workspace) = (kernels, stream, workspace);
        (_shape, _problem, _tokens, _blocks) = (shape, problem, tokens, blocks);
        _kernel = null;
        _heads = default;
        _call.Clear();
        _together = !_synchronize && stream.Device.Observer is null;
    }

    internal void Close() => (_kernels, _stream, _kernel, _tensors, _workspace) = (null, null, null, null, 0);

    /// <inheritdoc/>
    public void Dispose()
    {
        _graphs.Dispose();
        _call.Dispose();
    }

    private static InvalidOperationException Outside() => new("A launch lasts no longer than the call that it was made for.");
}
