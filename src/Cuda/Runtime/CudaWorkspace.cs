namespace AttnCompose.Cuda;

/// <summary>
/// The workspace buffers of a pipeline's stages for one problem: one device allocation, each stage's buffers after those of
/// the stage before. A stage names its buffers without regard to other stages.
/// </summary>
public sealed class CudaWorkspace
{
    private readonly List<(StageAttribute Stage, WorkspaceLayout Layout, long Offset)> _parts = [];
    private readonly Stack<WorkspaceLayout> _spare = new();
    private long _gatherRoom;

    /// <summary>Bytes of the whole allocation.</summary>
    public long TotalBytes { get; private set; }

    /// <summary>Adds the buffers of a stage.</summary>
    public void Add(StageAttribute stage, in ProblemShape shape)
    {
        ArgumentNullException.ThrowIfNull(stage);
        WorkspaceLayout layout = Spare();
        stage.DescribeWorkspace(in shape, layout);
        Add(stage, layout);
    }

    /// <summary>Adds the buffers of a block selector, which depend on the block sizes of the attention kernel.</summary>
    public void Add(BlockSelectorAttribute stage, BlockAttentionKernelAttribute kernel, in ProblemShape shape)
    {
        ArgumentNullException.ThrowIfNull(stage);
        WorkspaceLayout layout = Spare();
        stage.DescribeWorkspace(in shape, kernel, layout);
        Add(stage, layout);
    }

    /// <summary>Query heads whose keys and values are gathered ahead at a time; 0 where the loop copies them itself.</summary>
    public int HeadsAtATime { get; private set; }

    /// <summary>
    /// Adds the buffers into which a stage gathers keys and values ahead of the attention loop, for as many query heads at a time
    /// as there is room for; none where the call does not gather ahead.
    /// </summary>
    public void AddGathered(StageAttribute stage, in ProblemShape shape)
    {
        ArgumentNullException.ThrowIfNull(stage);
        if (_gatherRoom <= 0)
            return;
        Add(stage, shape with { Batch = 1, QueryHeads = 1, KeyValueHeads = 1 });
        var (_, one, offset) = _parts[^1];
        long heads = (long)shape.Batch * shape.QueryHeads;
        long most = Math.Min(_gatherRoom / Math.Max(1, one.TotalBytes), Math.Min(heads, LaunchGrid.MaxYz));
        _parts.RemoveAt(_parts.Count - 1);
        one.Clear();
        _spare.Push(one);
        TotalBytes = offset;
        if (most == 0)
            return;
        // Groups of nearly equal size.
        long groups = (heads + most - 1) / most;
        HeadsAtATime = (int)((heads + groups - 1) / groups);
        Add(stage, shape with { Batch = 1, QueryHeads = HeadsAtATime, KeyValueHeads = HeadsAtATime });
    }

    /// <summary>Reserves the bounds of spans that mask rules read at positions: of blocks of 64 and of 4096 elements.</summary>
    /// <param name="spans">How many spans.</param>
    /// <param name="shape">Sizes; the bounds are those of the first batch times key length elements, rounded up.</param>
    public void AddRuleBounds(int spans, in ProblemShape shape)
    {
        const int Far = 4096, BytesOfFar = (Far / 64 + 1) * 2 * sizeof(int);
        long blocks = (shape.KeyLength + Far - 1L) / Far * shape.Batch;
        long bytes = checked(spans * blocks * BytesOfFar);
        RuleBounds = (Reserve(bytes), blocks, bytes);
    }

    /// <summary>Byte offset of those bounds, how many blocks of 4096 elements there are of each span, and bytes in all.</summary>
    internal (long Offset, long Blocks, long Bytes) RuleBounds { get; private set; }

    /// <summary>
    /// Every buffer: which stage it belongs to, its name, its offset from the beginning and its size, bytes. The bounds of
    /// spans (<c>rule_bounds</c>) belong to no stage.
    /// </summary>
    public IEnumerable<(StageAttribute? Stage, string Name, long Offset, long Bytes)> Buffers
    {
        get
        {
            if (RuleBounds.Bytes > 0)
                yield return (null, "rule_bounds", RuleBounds.Offset, RuleBounds.Bytes);
            foreach (var (stage, layout, offset) in _parts)
            {
                foreach (var buffer in layout.Buffers)
                    yield return (stage, buffer.Name, offset + buffer.Offset, buffer.Bytes);
            }
        }
    }

    /// <summary>The stages in the order in which they were added.</summary>
    public IEnumerable<StageAttribute> Stages => _parts.Select(part => part.Stage);

    /// <summary>Byte offset of a stage's buffer.</summary>
    /// <exception cref="KeyNotFoundException">The stage was not added, or it has no such buffer.</exception>
    public long OffsetOf(StageAttribute stage, string name)
    {
        foreach (var part in _parts)
        {
            if (ReferenceEquals(part.Stage, stage))
                return part.Offset + part.Layout.OffsetOf(name);
        }
        throw new KeyNotFoundException($"{stage?.GetType().Name} was not added to the workspace, so it has no buffer '{name}'.");
    }

    /// <summary>Begins the workspace of a call.</summary>
    /// <param name="gatherRoom">Most bytes of what is gathered ahead; 0 where the call does not.</param>
    internal void Clear(long gatherRoom)
    {
        (_gatherRoom, HeadsAtATime) = (gatherRoom, 0);
        RuleBounds = default;
        // In reverse, so that each stage finds the layout that has its room already.
        for (int i = _parts.Count - 1; i >= 0; i--)
        {
            _parts[i].Layout.Clear();
            _spare.Push(_parts[i].Layout);
        }
        _parts.Clear();
        TotalBytes = 0;
    }

    internal long Reserve(long bytes)
    {
        long offset = TotalBytes;
        const long Unit = WorkspaceLayout.Alignment;
        TotalBytes = checked(TotalBytes + (bytes + Unit - 1) / Unit * Unit);
        return offset;
    }

    private WorkspaceLayout Spare() => _spare.TryPop(out WorkspaceLayout? spare) ? spare : new();

    private void Add(StageAttribute stage, WorkspaceLayout layout)
    {
        _parts.Add((stage, layout, TotalBytes));
        TotalBytes = checked(TotalBytes + layout.TotalBytes);
    }
}

/// <summary>
/// Device memory for workspaces: one block a stream, because calls on different streams run at the same time. Blocks only grow.
/// </summary>
internal sealed class WorkspacePool(CudaDevice device) : IDisposable
{
    private readonly List<(CudaStream Stream, DeviceMemory Memory)> _blocks = [];

    /// <summary>Bytes held for all streams.</summary>
    public long Bytes => _blocks.Sum(block => block.Memory.Bytes);

    /// <summary>Memory of at least a size for calls on a stream.</summary>
    /// <exception cref="InvalidOperationException">The block must grow while the stream is being captured.</exception>
    public nint Take(CudaStream stream, long bytes)
    {
        for (int i = 0; i < _blocks.Count; i++)
        {
            if (!_blocks[i].Stream.IsSameQueue(stream))
                continue;
            if (_blocks[i].Memory.Bytes >= bytes)
                return _blocks[i].Memory.Value;
            stream.RefuseCapture($"Growing the workspace to {bytes} bytes");
            stream.Synchronize(); // earlier calls may still use the block
            _blocks[i].Memory.Dispose();
            _blocks.RemoveAt(i);
            break;
        }
        if (bytes == 0)
            return 0;
        stream.RefuseCapture($"Growing the workspace to {bytes} bytes");
        DropDisposedStreams();
        DeviceMemory memory = device.Context.Allocate(bytes, "workspace");
        _blocks.Add((stream, memory));
        return memory.Value;
    }

    public void Dispose()
    {
        foreach (var block in _blocks)
            block.Memory.Dispose();
        _blocks.Clear();
    }

    private void DropDisposedStreams()
    {
        for (int i = _blocks.Count - 1; i >= 0; i--)
        {
            if (!_blocks[i].Stream.IsDisposed)
                continue;
            _blocks[i].Memory.Dispose();
            _blocks.RemoveAt(i);
        }
    }
}
