using System.Runtime.InteropServices;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>
/// Runs cases on tensors in device memory. Outputs, workspace and all guards hold 0xFF bytes before each run; what is
/// written outside the outputs, and repeats that are not bitwise equal, are faults of the result. Not thread-safe.
/// </summary>
public sealed class CudaCaseRunner : IDisposable
{
    private readonly CudaDevice _device;
    private readonly WorkspaceObserver _workspace;

    /// <summary>Watches the workspaces of a device until it is disposed.</summary>
    /// <param name="device">The device.</param>
    /// <param name="poisonsWorkspace">
    /// Whether workspaces are filled before a run and looked at after it. Where they are not, they are as they were allocated, so
    /// that a memory checker sees reads of what nobody wrote; filling would count as writing.
    /// </param>
    public CudaCaseRunner(CudaDevice device, bool poisonsWorkspace = true)
    {
        _device = device;
        _device.Observer = _workspace = new(poisonsWorkspace);
    }

    /// <summary>Entry points that were launched since the last call of this.</summary>
    public IReadOnlyCollection<string> TakeLaunched() => _workspace.TakeLaunched();

    /// <summary>Runs a pipeline over the inputs a number of times; the first result is what is returned.</summary>
    public PipelineResult Run(PipelineCase inputs, ICudaAttentionPipeline pipeline, int times) =>
        (inputs.Config.Element, inputs.Config.FloatOutput) switch
        {
            (ElementType.Float16, true) => Run<Half, float>(inputs, pipeline, times),
            (ElementType.Float16, false) => Run<Half, Half>(inputs, pipeline, times),
            (ElementType.BFloat16, true) => Run<BFloat16, float>(inputs, pipeline, times),
            (ElementType.BFloat16, false) => Run<BFloat16, BFloat16>(inputs, pipeline, times),
            var (element, _) => throw new NotSupportedException($"There are no device kernels for {element}."),
        };

    /// <inheritdoc/>
    public void Dispose() => _device.Observer = null;

    private PipelineResult Run<T, TOut>(PipelineCase inputs, ICudaAttentionPipeline pipeline, int times)
        where T : unmanaged
        where TOut : unmanaged
    {
        PipelineConfig config = inputs.Config;
        (int batch, int heads, int queries, int keys) = (config.Batch, config.QueryHeads, config.QueryLength, config.KeyLength);
        using var query = new DeviceImage<T>(_device, inputs.Image<T>(heads, queries, config.HeadDim, inputs.Query));
        using var key = new DeviceImage<T>(_device, inputs.Image<T>(config.KeyValueHeads, keys, config.HeadDim, inputs.Key));
        using var value = new DeviceImage<T>(_device, inputs.Image<T>(config.KeyValueHeads, keys, config.HeadDim, inputs.Value));
        using var output = new DeviceImage<TOut>(_device, inputs.Image<TOut>(heads, queries, config.HeadDim, values: null));
        using var logSumExp = new DeviceImage<float>(_device, Rows<float>(batch, heads, queries));
        using var positions = new DeviceImage<int>(_device, Rows<int>(batch, heads, keys));
        using var keyCounts = new DeviceImage<int>(_device, Rows<int>(batch, heads, 1));
        using var queryBegins = new DeviceImage<int>(_device, Rows<int>(batch, heads, 1));
        using CudaTensor<int>? keyLengths = inputs.KeyLengths is { } k ? CudaTensor.From<int>(_device, k) : null;
        using CudaTensor<int>? queryLengths = inputs.QueryLengths is { } q ? CudaTensor.From<int>(_device, q) : null;
        using CudaBlockMask? blocks = inputs.Blocks is { } mask ? CudaBlockMask.From(_device, mask) : null;
        using CudaBlockMask? chosenBlocks = config.BlockSelector == BlockSelectorKind.None ? null : new CudaBlockMask(
            _device, batch, heads, queries, keys, SelectorSettings.Block, SelectorSettings.Block,
            columns: config.BlockSelector == BlockSelectorKind.VerticalSlash);
        Poison(chosenBlocks);
        using DrawnTensors.OnDevice tensors = inputs.Tensors.CopyTo(_device);
        var selection = new CudaTokenSelection(
            positions.Dense(batch, heads, keys), keyCounts.Dense(batch, heads), queryBegins.Dense(batch, heads));
        var arguments = new CudaAttentionArguments<T, TOut>
        {
            Query = query.View, Key = key.View, Value = value.View, Output = output.View,
            LogSumExp = logSumExp.Dense(batch, heads, queries), KeyLengths = keyLengths, QueryLengths = queryLengths,
            Selection = config.Sparse ? selection : null, Blocks = blocks,
            BlockSelection = chosenBlocks, Layer = config.Layer, Tensors = tensors.Tensors,
        };
        _workspace.Copies = true;
        pipeline.Run(in arguments);
        _workspace.Copies = false;
        output.Download();
        logSumExp.Download();
        List<string> faults =
            [.. output.Host.Strays("output"), .. logSumExp.Host.Strays("log-sum-exp"), .. _workspace.Strays()];
        (byte[] memory, var buffers) = (_workspace.Memory, _workspace.Buffers);
        bool hasScores = memory.Length > 0;
        var chosen = new TokenSelection();
        if (config.Sparse)
        {
            positions.Download();
            keyCounts.Download();
            queryBegins.Download();
            faults.AddRange(positions.Host.Strays("positions"));
            faults.AddRange(keyCounts.Host.Strays("key counts"));
            faults.AddRange(queryBegins.Host.Strays("query begins"));
            selection.CopyTo(chosen);
        }
        BlockMask? blockChoice = chosenBlocks is null ? null : new();
        chosenBlocks?.CopyTo(blockChoice!);
        faults.AddRange(Repeat(pipeline, arguments, output, logSumExp, times));
        if (!config.Sparse)
        {
            return new()
            {
                Output = output.Host.ToArray(), LogSumExp = logSumExp.Host.ToArray(), Faults = faults,
                ProbabilityElement = config.Element, Blocks = blockChoice,
            };
        }
        (int B, int H)[] rows = [.. Enumerable.Range(0, batch * heads).Select(i => (i / heads, i % heads))];
        return new()
        {
            Output = output.Host.ToArray(),
            LogSumExp = logSumExp.Host.ToArray(),
            Faults = faults,
            ProbabilityElement = config.Element,
            Blocks = blockChoice,
            Positions = [.. rows.Select(row => chosen.Positions(row.B, row.H).ToArray())],
            QueryBegins = [.. rows.Select(row => chosen.QueryBegin(row.B, row.H))],
            Scores = hasScores ? Floats("scores") : null,
            RawScores = hasScores ? Floats("raw_scores") : null,
            LaterRawScores = hasScores && config.Budget == TokenBudgetKind.Pruned
                ? Floats($"{nameof(RecentQueriesAttribute)}.raw_scores")
                : null,
        };

        float[][] Floats(string buffer)
        {
            var (offset, bytes) = buffers[buffer];
            ReadOnlySpan<float> all = MemoryMarshal.Cast<byte, float>(memory.AsSpan((int)offset, (int)bytes));
            var result = new float[rows.Length][];
            for (int i = 0; i < rows.Length; i++)
                result[i] = all.Slice(i * keys, Math.Max(0, inputs.Sequence(rows[i].B).KeyLength - config.Window)).ToArray();
            return result;
        }
    }

    /// <summary>Further runs, with a selection of the instance's own in every other one.</summary>
    private IEnumerable<string> Repeat<T, TOut>(
        ICudaAttentionPipeline pipeline, CudaAttentionArguments<T, TOut> arguments, DeviceImage<TOut> output,
        DeviceImage<float> logSumExp, int times)
        where T : unmanaged
        where TOut : unmanaged
    {
        for (int i = 1; i < times; i++)
        {
            output.Poison();
            logSumExp.Poison();
            CudaAttentionArguments<T, TOut> again =
                i % 2 == 1 ? arguments with { Selection = null, BlockSelection = null } : arguments;
            pipeline.Run(in again);
            if (!output.IsUnchanged() || !logSumExp.IsUnchanged())
            {
                yield return $"run {i + 1} of {times} is not bitwise equal to run 1";
                yield break;
            }
        }
    }

    private static void Poison(CudaBlockMask? blocks)
    {
        blocks?.Visit.FillBytes(0xFF);
        blocks?.Partial.FillBytes(0xFF);
        blocks?.Columns?.FillBytes(0xFF);
        blocks?.ColumnCounts?.FillBytes(0xFF);
        blocks?.Slashes?.FillBytes(0xFF);
    }

    private static HostTensor<T> Rows<T>(int batch, int heads, int length)
        where T : unmanaged => new(TensorLayout.Bhld, batch, heads, length, 1, heads);

    /// <summary>Poisons workspaces and copies them to the host.</summary>
    private sealed class WorkspaceObserver(bool poisons) : ICudaRunObserver
    {
        private HashSet<string> _launched = [];

        /// <summary>Whether the workspace is copied after a run; repeats do without.</summary>
        public bool Copies { get; set; }

        public byte[] Memory { get; private set; } = [];

        public Dictionary<string, (long Offset, long Bytes)> Buffers { get; } = [];

        public int GuardBytes => 4096;

        public void BeforeLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
            if (poisons)
                memory.FillBytes(0xFF, stream);
        }

        public void BeforeKernel(CudaKernel kernel, CudaStream stream) => _launched.Add(kernel.Name);

        public IReadOnlyCollection<string> TakeLaunched()
        {
            HashSet<string> launched = _launched;
            _launched = [];
            return launched;
        }

        public void AfterLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
            if (!Copies || !poisons)
                return;
            Memory = new byte[memory.Count];
            memory.CopyTo(Memory, stream);
            Buffers.Clear();
            foreach (var buffer in workspace.Buffers)
            {
                // Stages name their buffers without regard to others.
                string name = Buffers.ContainsKey(buffer.Name) ? $"{buffer.Stage?.GetType().Name}.{buffer.Name}" : buffer.Name;
                Buffers[name] = (buffer.Offset, buffer.Bytes);
            }
        }

        /// <summary>Writes outside the stages' buffers, after a run without a selection of the instance's own.</summary>
        public IEnumerable<string> Strays()
        {
            var rest = (byte[])Memory.Clone();
            foreach (var (offset, bytes) in Buffers.Values)
                rest.AsSpan((int)offset, (int)bytes).Fill(0xFF);
            int stray = rest.AsSpan().IndexOfAnyExcept((byte)0xFF);
            if (stray >= 0)
            {
                string buffers = string.Join(", ", Buffers.Select(buffer => $"{buffer.Key} at {buffer.Value.Offset}"));
                yield return $"workspace: byte {stray} was written, outside its buffers ({buffers})";
            }
        }
    }
}

/// <summary>A host tensor's memory on a device, guards included.</summary>
internal sealed class DeviceImage<T> : IDisposable
    where T : unmanaged
{
    private readonly CudaTensor<T> _memory;
    private readonly T[] _again;

    public DeviceImage(CudaDevice device, HostTensor<T> host)
    {
        Host = host;
        _again = new T[host.Memory.Length];
        _memory = CudaTensor.From<T>(device, host.Memory);
    }

    /// <summary>What was uploaded; after <see cref="Download"/>, what the device had then.</summary>
    public HostTensor<T> Host { get; }

    public CudaTensor<T> View => _memory.View(Host.Begin, Host.Lengths, Host.Strides);

    public CudaTensor<T> Dense(params ReadOnlySpan<nint> lengths)
    {
        Span<nint> strides = stackalloc nint[lengths.Length];
        nint stride = 1;
        for (int i = lengths.Length - 1; i >= 0; i--)
            (strides[i], stride) = (stride, stride * lengths[i]);
        return _memory.View(Host.Begin, lengths, strides);
    }

    public void Poison() => _memory.FillBytes(0xFF);

    public void Download() => _memory.CopyTo(Host.Memory);

    /// <summary>Whether the device has, byte for byte, what was downloaded.</summary>
    public bool IsUnchanged()
    {
        _memory.CopyTo(_again);
        return MemoryMarshal.AsBytes(_again.AsSpan())
            .SequenceEqual(MemoryMarshal.AsBytes(Host.Memory.AsSpan()));
    }

    public void Dispose() => _memory.Dispose();
}
