using System.Buffers;
using System.Runtime.InteropServices;

namespace AttnCompose.Cpu;

/// <summary>
/// What a CPU stage works with: the workers and scratch memory. The memory belongs to one pipeline instance, grows to its
/// largest problem and is used again, so that a second run of a shape allocates nothing.
/// </summary>
public sealed unsafe class CpuExecution : IDisposable
{
    private const nuint Alignment = 64;

    private readonly List<(nint Address, long Bytes)> _blocks = [];
    private long _blockUsed;
    private long _peak;
    private long _used;
    private bool _disposed;
    private IReadOnlyList<TensorPlan> _tensorPlans = [];
    private MemoryHandle[] _tensors = [];
    private readonly (nint Data, int Length)[] _ruleSpans = new (nint, int)[RuleSpans.Most];

    /// <summary>Scratch on a device.</summary>
    public CpuExecution(CpuDevice device) => Device = device;

    /// <summary>The device.</summary>
    public CpuDevice Device { get; }

    /// <summary>The device's workers.</summary>
    public CpuWorkers Workers => Device.Workers;

    /// <summary>The selection that this call's token selectors fill: the caller's where it passed one, else the instance's own.</summary>
    public TokenSelection Selection { get; internal set; } = new();

    /// <summary>Sizes <see cref="Selection"/> for a problem, all heads empty: what a pipeline with token selectors begins with.</summary>
    public TokenSelection BeginSelection(in ProblemShape shape)
    {
        Selection.Reset(shape.Batch, shape.QueryHeads, shape.KeyLength);
        return Selection;
    }

    /// <summary>
    /// The block list of this call: the caller's where the block selector takes it, else one that is sized for the problem and
    /// that the selector fills.
    /// </summary>
    public BlockMask Blocks { get; internal set; } = new();

    /// <summary>Span argument <paramref name="index"/> of the pipeline's rules, pinned until the call ends.</summary>
    public RuleSpan<T> RuleSpan<T>(int index) where T : unmanaged =>
        new((T*)_ruleSpans[index].Data, _ruleSpans[index].Length);

    /// <summary>
    /// The elements of a tensor that a stage takes from the caller (<see cref="TensorArgumentAttribute"/>), in the order of its shape,
    /// pinned until the call ends.
    /// </summary>
    /// <exception cref="ArgumentException">No stage of the pipeline declares a tensor of that name.</exception>
    public T* Tensor<T>(string name) where T : unmanaged
    {
        for (int i = 0; i < _tensorPlans.Count; i++)
        {
            if (_tensorPlans[i].Name == name)
                return (T*)_tensors[i].Pointer;
        }
        throw new ArgumentException($"No stage of the pipeline declares [TensorArgument(\"{name}\", ...)].", nameof(name));
    }

    /// <summary>Scratch bytes that the largest call so far used.</summary>
    public long ScratchBytes => _peak;

    /// <summary>
    /// Scratch memory, 64-byte aligned, not cleared, valid until the call ends. Not to be called from workers: take what all
    /// of them need beforehand.
    /// </summary>
    public T* Scratch<T>(long count) where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        long bytes = checked((count * sizeof(T) + (long)Alignment - 1) / (long)Alignment * (long)Alignment);
        if (_blocks.Count == 0 || _blockUsed + bytes > _blocks[^1].Bytes)
        {
            long size = Math.Max(bytes, 1 << 16);
            _blocks.Add(((nint)NativeMemory.AlignedAlloc(checked((nuint)size), Alignment), size));
            _blockUsed = 0;
        }
        var result = (T*)(_blocks[^1].Address + _blockUsed);
        _blockUsed += bytes;
        _used += bytes;
        _peak = Math.Max(_peak, _used);
        return result;
    }

    /// <summary>Pins the tensors of a call, which were checked; <see cref="Reset"/> lets them go.</summary>
    internal void PinTensors(StageTensors? given, IReadOnlyList<TensorPlan> plans)
    {
        _tensorPlans = plans;
        if (_tensors.Length < plans.Count)
            Array.Resize(ref _tensors, plans.Count);
        for (int i = 0; i < plans.Count; i++)
            _tensors[i] = given!.Pin(plans[i].Name);
    }

    internal void SetRuleSpan(int index, void* data, int length) => _ruleSpans[index] = ((nint)data, length);

    /// <summary>
    /// Takes back all scratch memory and lets go of the caller's tensors; after a call that needed several blocks, merges them into
    /// one.
    /// </summary>
    public void Reset()
    {
        for (int i = 0; i < _tensors.Length; i++)
        {
            _tensors[i].Dispose();
            _tensors[i] = default;
        }
        _tensorPlans = [];
        if (_blocks.Count > 1)
        {
            Free();
            _blocks.Add(((nint)NativeMemory.AlignedAlloc(checked((nuint)_peak), Alignment), _peak));
        }
        (_blockUsed, _used) = (0, 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        _disposed = true;
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees scratch memory of an instance that nobody disposed.</summary>
    ~CpuExecution() => Free();

    private void Free()
    {
        foreach (var block in _blocks)
            NativeMemory.AlignedFree((void*)block.Address);
        _blocks.Clear();
        (_blockUsed, _used) = (0, 0);
    }
}
