using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using AttnCompose.Cpu;

namespace AttnCompose.Cuda;

// Calls on host memory: pack, upload, run, download, unpack. For convenience, not for speed.
public sealed unsafe partial class CudaPipelineRunner
{
    private DeviceMemory? _hostMemory;
    private CudaTokenSelection? _hostSelection;
    private void* _staging;
    private nuint _stagingBytes;
    private readonly CudaRuleSpan[] _hostRules = new CudaRuleSpan[RuleSpans.Most];

    /// <summary>Runs a pipeline over host memory on the device and waits for the result.</summary>
    public void Run<T, TOut>(ICudaPipeline pipeline, in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged => Run(pipeline, in arguments, default);

    /// <summary>The same with the span arguments of the pipeline's rules, which are copied to the device.</summary>
    public void Run<T, TOut>(ICudaPipeline pipeline, in AttentionArguments<T, TOut> arguments, RuleSpans rules)
        where T : unmanaged
        where TOut : unmanaged
    {
        Begin(pipeline);
        try
        {
            CudaArgumentChecks.CheckElements<T, TOut>(_program);
            ProblemShape shape = ArgumentChecks.Check(
                in arguments, _program.Name, _program.Mask, _program.HeadDim, _program.Element);
            ArgumentChecks.CheckBlocks(arguments.Blocks, in shape, _program.Name, pipeline.Blocks);
            ArgumentChecks.CheckDenseHeads(arguments.DenseHeads, in shape, _program.Name, pipeline.Blocks);
            rules.Check(in shape);
            StageTensors.Check(arguments.Tensors, _program.Name, pipeline.Tensors, in shape);
            if (!shape.IsEmpty)
                RunHost(pipeline, in arguments, in rules, in shape);
        }
        finally
        {
            End();
        }
    }

    private void RunHost<T, TOut>(
        ICudaPipeline pipeline, in AttentionArguments<T, TOut> arguments, in RuleSpans rules, in ProblemShape shape)
        where T : unmanaged
        where TOut : unmanaged
    {
        CudaStream stream = Device.DefaultStream;
        var layout = new WorkspaceLayout();
        long queries = checked((long)shape.Batch * shape.QueryHeads * shape.QueryLength);
        long keys = checked((long)shape.Batch * shape.KeyValueHeads * shape.KeyLength);
        layout.Add("query", checked(queries * shape.HeadDim), sizeof(T));
        layout.Add("key", checked(keys * shape.HeadDim), sizeof(T));
        layout.Add("value", checked(keys * shape.HeadDim), sizeof(T));
        layout.Add("output", checked(queries * shape.HeadDim), sizeof(TOut));
        layout.Add("log_sum_exp", queries, sizeof(float));
        layout.Add("key_lengths", shape.Batch, sizeof(int));
        layout.Add("query_lengths", shape.Batch, sizeof(int));
        for (int i = 0; i < rules.Count; i++)
            layout.Add(RuleSpanName(i), rules[i].Length, 1);
        foreach (TensorPlan tensor in pipeline.Tensors)
            layout.Add(TensorName(tensor), arguments.Tensors!.BytesOf(tensor.Name), 1);
        if (_hostMemory is null || _hostMemory.Bytes < layout.TotalBytes)
        {
            _hostMemory?.Dispose();
            _hostMemory = null;
            _hostMemory = Device.Context.Allocate(layout.TotalBytes, "the tensors of a call on host memory");
        }
        CudaTensor<TElement> Tensor<TElement>(string name, params ReadOnlySpan<nint> lengths) where TElement : unmanaged =>
            CudaTensor.Dense<TElement>(Device, _hostMemory!.Value + (nint)layout.OffsetOf(name), lengths);

        CudaTensor<T> query = Tensor<T>("query", shape.Batch, shape.QueryHeads, shape.QueryLength, shape.HeadDim);
        CudaTensor<T> key = Tensor<T>("key", shape.Batch, shape.KeyValueHeads, shape.KeyLength, shape.HeadDim);
        CudaTensor<T> value = Tensor<T>("value", shape.Batch, shape.KeyValueHeads, shape.KeyLength, shape.HeadDim);
        CudaTensor<TOut> output = Tensor<TOut>("output", shape.Batch, shape.QueryHeads, shape.QueryLength, shape.HeadDim);
        CudaTensor<float>? logSumExp = arguments.LogSumExp.IsEmpty
            ? null
            : Tensor<float>("log_sum_exp", shape.Batch, shape.QueryHeads, shape.QueryLength);
        CudaTensor<int>? keyLengths = arguments.KeyLengths.IsEmpty ? null : Tensor<int>("key_lengths", shape.Batch);
        CudaTensor<int>? queryLengths = arguments.QueryLengths.IsEmpty ? null : Tensor<int>("query_lengths", shape.Batch);

        Upload(arguments.Query, query, stream);
        Upload(arguments.Key, key, stream);
        Upload(arguments.Value, value, stream);
        keyLengths?.CopyFrom(arguments.KeyLengths, stream);
        queryLengths?.CopyFrom(arguments.QueryLengths, stream);
        for (int i = 0; i < rules.Count; i++)
        {
            nint data = _hostMemory.Value + (nint)layout.OffsetOf(RuleSpanName(i));
            CudaTensor.Dense<byte>(Device, data, [rules[i].Length]).CopyFrom(rules[i], stream);
            _hostRules[i] = CudaRuleSpan.Copied(Device, data, rules.LengthOf(i));
        }
        CudaStageTensors? tensors = pipeline.Tensors.Count == 0 ? null : new();
        foreach (TensorPlan tensor in pipeline.Tensors)
        {
            using MemoryHandle pinned = arguments.Tensors!.Pin(tensor.Name);
            nint data = _hostMemory.Value + (nint)layout.OffsetOf(TensorName(tensor));
            Device.Context.Upload(data, pinned.Pointer, arguments.Tensors.BytesOf(tensor.Name), stream);
            nint[] lengths = tensor.LengthsFor(in shape);
            if (tensor.ElementType == "int")
                tensors!.Set(tensor.Name, CudaTensor.Dense<int>(Device, data, lengths));
            else
                tensors!.Set(tensor.Name, CudaTensor.Dense<float>(Device, data, lengths));
        }
        CudaTokenSelection? selection = arguments.Selection is null || !_program.SelectsTokens ? null : SelectionFor(in shape);
        using CudaBlockMask? blocks = arguments.Blocks is { } given ? CudaBlockMask.From(Device, given, stream) : null;
        using CudaBlockMask? blockSelection = BlockSelectionFor(pipeline, arguments.BlockSelection, in shape);
        RunCore(
            pipeline,
            new CudaAttentionArguments<T, TOut>
            {
                Query = query,
                Key = key,
                Value = value,
                Output = output,
                LogSumExp = logSumExp,
                KeyLengths = keyLengths,
                QueryLengths = queryLengths,
                Scale = arguments.Scale,
                Selection = selection,
                Blocks = blocks,
                BlockSelection = blockSelection,
                DenseHeads = arguments.DenseHeads,
                Tensors = tensors,
                Layer = arguments.Layer,
            },
            _hostRules.AsSpan(0, rules.Count),
            stream);
        stream.Synchronize($"{_program.Name} on {Device.Name}");
        Download(output, arguments.Output, stream);
        if (logSumExp is not null)
            Download(logSumExp, arguments.LogSumExp, stream);
        blockSelection?.CopyTo(arguments.BlockSelection!, stream);
        if (selection is null)
            return;
        selection.CopyTo(arguments.Selection!, stream);
        if (arguments.Selection!.WantsScores)
            DownloadScores(arguments.Selection, arguments.KeyLengths, in shape, stream);
    }

    private static string RuleSpanName(int index) => $"rule_{index}";

    private static string TensorName(TensorPlan tensor) => $"tensor_{tensor.Name}";

    /// <summary>
    /// Hands out what the last scoring stage ranked. The device writes the scored tokens of each sequence and nothing beyond.
    /// </summary>
    private void DownloadScores(TokenSelection selection, ReadOnlySpan<int> keyLengths, in ProblemShape shape, CudaStream stream)
    {
        int width = 0;
        TokenSelectorAttribute? selector = null;
        foreach (StageAttribute stage in _launch.Workspace.Stages)
        {
            if (stage is TokenSelectorAttribute candidate && candidate.ScoreLength(in shape) is var length and > 0)
                (selector, width) = (candidate, length);
        }
        if (selector is null)
            return;
        CudaTensor<float> scores = CudaTensor.Dense<float>(
            Device, _launch.Buffer(selector, "scores"), [shape.Batch, shape.QueryHeads, shape.KeyLength]);
        var all = new float[scores.Count];
        scores.CopyTo(all, stream);
        for (int b = 0; b < shape.Batch; b++)
        {
            ProblemShape sequence = keyLengths.IsEmpty ? shape : shape with { KeyLength = keyLengths[b] };
            int scored = Math.Min(width, selector.ScoreLength(in sequence));
            for (int h = 0; h < shape.QueryHeads; h++)
            {
                Span<float> row = selection.ScoreBuffer(b, h, width);
                all.AsSpan((b * shape.QueryHeads + h) * shape.KeyLength, scored).CopyTo(row);
                row[scored..].Clear();
            }
        }
    }

    private CudaBlockMask? BlockSelectionFor(ICudaPipeline pipeline, BlockMask? wanted, in ProblemShape shape)
    {
        wanted?.Clear(); // as on the CPU, where no block selector fills it
        return wanted is not null && OwnBlocks(pipeline, in shape) is { } own
            ? new CudaBlockMask(
                Device, own.Batch, own.QueryHeads, own.QueryLength, own.KeyLength, own.BlockQuery, own.BlockKey, own.HasColumns,
                own.HasSlashes)
            : null;
    }

    private CudaTokenSelection SelectionFor(in ProblemShape shape)
    {
        ReadOnlySpan<nint> lengths = [shape.Batch, shape.QueryHeads, shape.KeyLength];
        if (_hostSelection is null || !_hostSelection.Positions.Lengths.SequenceEqual(lengths))
        {
            _hostSelection?.Dispose();
            _hostSelection = null;
            _hostSelection = new CudaTokenSelection(Device, shape.Batch, shape.QueryHeads, shape.KeyLength);
        }
        return _hostSelection;
    }

    private void Upload<T>(in ReadOnlyTensorSpan<T> source, CudaTensor<T> destination, CudaStream stream) where T : unmanaged
    {
        if (destination.Count == 0)
            return;
        byte* staging = Staging(checked((nuint)destination.Count * (nuint)sizeof(T)));
        fixed (T* from = &source.GetPinnableReference())
        {
            byte* to = staging;
            foreach (var (offset, bytes) in new RowWalk(source.Lengths, source.Strides, sizeof(T)))
            {
                Buffer.MemoryCopy((byte*)from + offset, to, bytes, bytes);
                to += bytes;
            }
        }
        Device.Context.Upload(destination.Pointer, staging, destination.Count * sizeof(T), stream);
    }

    private void Download<T>(CudaTensor<T> source, in TensorSpan<T> destination, CudaStream stream) where T : unmanaged
    {
        if (source.Count == 0)
            return;
        byte* staging = Staging(checked((nuint)source.Count * (nuint)sizeof(T)));
        Device.Context.Download(staging, source.Pointer, source.Count * sizeof(T), stream);
        fixed (T* to = &destination.GetPinnableReference())
        {
            byte* from = staging;
            foreach (var (offset, bytes) in new RowWalk(destination.Lengths, destination.Strides, sizeof(T)))
            {
                Buffer.MemoryCopy(from, (byte*)to + offset, bytes, bytes);
                from += bytes;
            }
        }
    }

    private byte* Staging(nuint bytes)
    {
        if (_stagingBytes < bytes)
        {
            FreeStaging();
            _staging = NativeMemory.Alloc(bytes);
            _stagingBytes = bytes;
        }
        return (byte*)_staging;
    }

    private void DisposeHostBuffers()
    {
        _hostMemory?.Dispose();
        _hostSelection?.Dispose();
        FreeStaging();
    }

    /// <summary>Frees the host memory of an instance that nobody disposed.</summary>
    ~CudaPipelineRunner() => FreeStaging();

    private void FreeStaging()
    {
        NativeMemory.Free(_staging);
        _staging = null;
        _stagingBytes = 0;
    }
}

/// <summary>
/// Walks the contiguous pieces of a strided host tensor in the order of its indices: byte offset and size of each.
/// </summary>
internal ref struct RowWalk
{
    private readonly ReadOnlySpan<nint> _lengths;
    private readonly ReadOnlySpan<nint> _strides;
    private readonly int _elementBytes;
    private readonly int _outer;
    private readonly long _pieces;
    private readonly long _pieceBytes;
    private long _next;

    public RowWalk(ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides, int elementBytes)
    {
        _lengths = lengths;
        _strides = strides;
        _elementBytes = elementBytes;
        // Dimensions from the last one on are one piece while each steps exactly over what is inside it.
        long inner = 1;
        _outer = lengths.Length;
        while (_outer > 0 && (lengths[_outer - 1] == 1 || strides[_outer - 1] == inner))
            inner *= lengths[--_outer];
        _pieceBytes = inner * elementBytes;
        _pieces = inner == 0 ? 0 : 1;
        for (int i = 0; i < _outer; i++)
            _pieces *= lengths[i];
    }

    public (nint Offset, long Bytes) Current { get; private set; }

    public readonly RowWalk GetEnumerator() => this;

    public bool MoveNext()
    {
        if (_next >= _pieces)
            return false;
        long rest = _next++;
        nint offset = 0;
        for (int i = _outer - 1; i >= 0; i--)
        {
            offset += (nint)(rest % _lengths[i]) * _strides[i];
            rest /= _lengths[i];
        }
        Current = (offset * _elementBytes, _pieceBytes);
        return true;
    }
}
