using System.Runtime.InteropServices;

namespace AttnCompose.Conformance;

/// <summary>
/// The inputs of a configuration, and the verdict on what a pipeline made of them. Use: make a case, run a pipeline over it
/// (<see cref="Run"/> on host memory, or fill a <see cref="PipelineResult"/> from a device), then <see cref="Check(PipelineResult)"/>.
/// </summary>
public sealed class PipelineCase
{
    /// <summary>Draws the inputs of a configuration.</summary>
    public PipelineCase(PipelineConfig config)
    {
        Config = config;
        var random = new Random(config.Seed ^ 0x5EED);
        if (config.VaryLengths)
        {
            KeyLengths = new int[config.Batch];
            QueryLengths = new int[config.Batch];
            for (int b = 0; b < config.Batch; b++)
            {
                KeyLengths[b] = random.Next(0, config.KeyLength + 1);
                int most = config.Mask == AttentionMask.Causal || config.Sparse
                    ? Math.Min(config.QueryLength, KeyLengths[b])
                    : config.QueryLength;
                QueryLengths[b] = config.QueryLength == config.KeyLength && random.Next(2) == 0 ? most : random.Next(0, most + 1);
            }
        }
        Query = Tensor(random, config.QueryHeads, config.QueryLength, QueryLengths, isKey: false);
        Key = Tensor(random, config.KeyValueHeads, config.KeyLength, KeyLengths, isKey: true);
        Value = Tensor(random, config.KeyValueHeads, config.KeyLength, KeyLengths, isKey: false);
        if (config.Content == TensorContent.OneHot)
            MakeOneHot(random);
        if (config.Blocks)
            Blocks = DrawBlocks(random);
        var shape = new ProblemShape(
            config.Batch, config.QueryHeads, config.KeyValueHeads, config.QueryLength, config.KeyLength, config.HeadDim);
        Tensors = new DrawnTensors(
            config.BlockSelector == BlockSelectorKind.GateWeights ? SelectorSettings.PlanOf(config).Tensors : [], in shape, config.Seed);
    }

    /// <summary>The configuration.</summary>
    public PipelineConfig Config { get; }

    /// <summary>[batch, query heads, Lq, dim]; exact in the element type, rows beyond a length are NaN.</summary>
    public float[] Query { get; }

    /// <summary>[batch, key/value heads, Lk, dim], likewise.</summary>
    public float[] Key { get; }

    /// <summary>[batch, key/value heads, Lk, dim], likewise.</summary>
    public float[] Value { get; }

    /// <summary>Valid keys of each sequence; null where all are.</summary>
    public int[]? KeyLengths { get; }

    /// <summary>Valid queries of each sequence; null where all are.</summary>
    public int[]? QueryLengths { get; }

    /// <summary>The block list; null where every key is visited.</summary>
    public BlockMask? Blocks { get; }

    /// <summary>What the pipeline's stages take from the caller.</summary>
    public DrawnTensors Tensors { get; }

    /// <summary>Factor of query times key.</summary>
    public float Scale => 1 / MathF.Sqrt(Config.HeadDim);

    /// <summary>Element type of the output.</summary>
    public ElementType OutputElement => Config.FloatOutput ? ElementType.Float32 : Config.Element;

    /// <summary>The score rule in double, or null.</summary>
    public ScoreRule? Rule => RulePipelines.RuleOf(Config.Rule);

    /// <summary>Lengths of one sequence.</summary>
    public SequenceShape Sequence(int batch) =>
        new(QueryLengths?[batch] ?? Config.QueryLength, KeyLengths?[batch] ?? Config.KeyLength);

    /// <summary>Runs a pipeline over the inputs on host memory. Padding and outputs hold NaN before.</summary>
    public PipelineResult Run(IAttentionPipeline pipeline) => (Config.Element, Config.FloatOutput) switch
    {
        (ElementType.Float32, _) => Run<float, float>(pipeline),
        (ElementType.Float16, true) => Run<Half, float>(pipeline),
        (ElementType.Float16, false) => Run<Half, Half>(pipeline),
        (ElementType.BFloat16, true) => Run<BFloat16, float>(pipeline),
        _ => Run<BFloat16, BFloat16>(pipeline),
    };

    /// <summary>Runs a pipeline twice; a second result that is not bitwise the first is a fault.</summary>
    public PipelineResult RunTwice(IAttentionPipeline pipeline)
    {
        PipelineResult first = Run(pipeline), second = Run(pipeline);
        bool same = MemoryMarshal.AsBytes(first.Output.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(second.Output.AsSpan()))
            && MemoryMarshal.AsBytes(first.LogSumExp.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(second.LogSumExp.AsSpan()));
        return same ? first : first with { Faults = [.. first.Faults, "run 2 of 2 is not bitwise equal to run 1"] };
    }

    /// <summary>What is wrong with a result: one line each, the replay line included; empty where all is well.</summary>
    public IReadOnlyList<string> Check(PipelineResult result) => Check(result, out _, out _);

    /// <summary>
    /// What is wrong with a result; the largest error of an output in units of what is allowed; and how many heads' tokens
    /// were chosen again on the CPU from the device's scores.
    /// </summary>
    public IReadOnlyList<string> Check(PipelineResult result, out double largestError, out int selectionsCompared)
    {
        var verdict = new PipelineVerdict(this, result);
        string[] failures = [.. verdict.Failures().Select(failure => $"{failure}\n  replay: {Config}")];
        (largestError, selectionsCompared) = (verdict.LargestError, verdict.SelectionsCompared);
        return failures;
    }

    /// <summary>One head by the oracle, over keys at some positions: [Lq, dim] and [Lq].</summary>
    internal void Attend<TReal>(
        int batch, int head, ReadOnlySpan<int> keys, ReadOnlySpan<int> queries, Span<TReal> output, Span<TReal> logSumExp,
        ElementType probability = ElementType.Any, BlockMask? chosen = null)
        where TReal : struct, System.Numerics.IFloatingPointIeee754<TReal>
    {
        if ((chosen ?? Blocks) is not { } blocks)
        {
            Attend(keys, queries, output, logSumExp);
            return;
        }
        // One query block at a time, over the columns and the keys of the blocks that it visits.
        var (blockOutput, blockLogSumExp) = (new TReal[output.Length], new TReal[logSumExp.Length]);
        output.Clear();
        logSumExp.Fill(TReal.NegativeInfinity);
        int[] columns = blocks.Columns(batch, head).ToArray();
        foreach ((int index, int[] block) in queries.ToArray().Chunk(blocks.BlockQuery).Index())
        {
            int[] visited = [.. keys.ToArray().Where((_, j) =>
                blocks.Visits(batch, head, index, j / blocks.BlockKey) || Array.BinarySearch(columns, j) >= 0)];
            Attend(visited, block, blockOutput, blockLogSumExp);
            foreach (int query in block)
            {
                logSumExp[query] = blockLogSumExp[query];
                blockOutput.AsSpan(query * Config.HeadDim, Config.HeadDim).CopyTo(output[(query * Config.HeadDim)..]);
            }
        }

        void Attend(ReadOnlySpan<int> keys, ReadOnlySpan<int> queries, Span<TReal> output, Span<TReal> logSumExp) =>
            AttentionOracle.Attend(
                QueryHead(batch, head), KeyHead(Key, batch, head), KeyHead(Value, batch, head), Config.HeadDim,
                Sequence(batch).FirstQuery, keys, queries, Config.Mask == AttentionMask.Causal, Scale, Rule, output, logSumExp,
                probability, RulePipelines.SinkOf(Config.Rule, head));
    }

    /// <summary>[Lq, dim] of a query head.</summary>
    internal ReadOnlySpan<float> QueryHead(int batch, int head)
    {
        int size = Config.QueryLength * Config.HeadDim;
        return Query.AsSpan((batch * Config.QueryHeads + head) * size, size);
    }

    /// <summary>[Lk, dim] of the key/value head of a query head, of <see cref="Key"/> or <see cref="Value"/>.</summary>
    internal ReadOnlySpan<float> KeyHead(float[] tensor, int batch, int head)
    {
        int size = Config.KeyLength * Config.HeadDim;
        int keyHead = head / (Config.QueryHeads / Config.KeyValueHeads);
        return tensor.AsSpan((batch * Config.KeyValueHeads + keyHead) * size, size);
    }

    /// <summary>Whether a query of <see cref="TensorContent.OneHot"/> looks for the key at its own position.</summary>
    internal bool FindsItself(int batch, int query)
    {
        SequenceShape sequence = Sequence(batch);
        if (Blocks is { } blocks)
        {
            int own = sequence.FirstQuery + query;
            return own >= 0 && blocks.Visits(batch, 0, query / blocks.BlockQuery, own / blocks.BlockKey) && blocks.QueryHeads == 1;
        }
        return !Config.Sparse || sequence.FirstQuery + query < sequence.KeyLength - Config.Window;
    }

    /// <summary>A tensor of this case, poisoned; filled with <paramref name="values"/> where there are any.</summary>
    internal HostTensor<T> Image<T>(int heads, int length, int dim, float[]? values)
        where T : unmanaged
    {
        bool isFused = Config.Layout == TensorLayout.Fused && values is not null;
        TensorLayout layout = Config.Layout == TensorLayout.Fused && !isFused ? TensorLayout.Blhd : Config.Layout;
        var image = new HostTensor<T>(
            layout, Config.Batch, heads, length, dim, isFused ? Config.QueryHeads + 2 * Config.KeyValueHeads : heads);
        if (values is not null)
            image.Fill(values);
        return image;
    }

    private PipelineResult Run<T, TOut>(IAttentionPipeline pipeline)
        where T : unmanaged
        where TOut : unmanaged
    {
        PipelineConfig config = Config;
        int batch = config.Batch, heads = config.QueryHeads, length = config.QueryLength;
        HostTensor<T> query = Image<T>(heads, length, config.HeadDim, Query);
        HostTensor<T> key = Image<T>(config.KeyValueHeads, config.KeyLength, config.HeadDim, Key);
        HostTensor<T> value = Image<T>(config.KeyValueHeads, config.KeyLength, config.HeadDim, Value);
        HostTensor<TOut> output = Image<TOut>(heads, length, config.HeadDim, values: null);
        var logSumExp = new HostTensor<float>(TensorLayout.Bhld, batch, heads, length, 1, heads);
        var selection = new TokenSelection { WantsScores = true };
        BlockMask? chosen = config.BlockSelector == BlockSelectorKind.None ? null : new();
        pipeline.Run(new AttentionArguments<T, TOut>
        {
            Query = query.View, Key = key.View, Value = value.View, Output = output.View,
            LogSumExp = AttentionTensor.LogSumExp(logSumExp.Elements, batch, heads, length),
            KeyLengths = KeyLengths, QueryLengths = QueryLengths, Selection = config.Sparse ? selection : null, Blocks = Blocks,
            BlockSelection = chosen, Layer = config.Layer, Tensors = Tensors.Host(),
        });
        string[] faults = [.. output.Strays("output").Concat(logSumExp.Strays("log-sum-exp"))];
        if (!config.Sparse)
        {
            return new PipelineResult
            {
                Output = output.ToArray(), LogSumExp = logSumExp.ToArray(), Faults = faults, Blocks = chosen,
            };
        }
        (int B, int H)[] rows = [.. Enumerable.Range(0, batch * heads).Select(i => (i / heads, i % heads))];
        return new PipelineResult
        {
            Output = output.ToArray(),
            LogSumExp = logSumExp.ToArray(),
            Faults = faults,
            Blocks = chosen,
            Positions = [.. rows.Select(row => selection.Positions(row.B, row.H).ToArray())],
            QueryBegins = [.. rows.Select(row => selection.QueryBegin(row.B, row.H))],
            Scores = selection.ScoreLength == 0 ? null : [.. rows.Select(row =>
                selection.Scores(row.B, row.H)[..Math.Max(0, Sequence(row.B).KeyLength - config.Window)].ToArray())],
        };
    }

    /// <summary>
    /// A list of blocks of 128 by 128, from empty to full, of one head for all, or of each: random, or a band beside the diagonal
    /// and the first blocks. Blocks behind the diagonal are listed too.
    /// </summary>
    private BlockMask DrawBlocks(Random random)
    {
        const int Size = 128;
        var blocks = new BlockMask();
        blocks.Reset(
            random.Next(2) == 0 ? 1 : Config.Batch, random.Next(2) == 0 ? 1 : Config.QueryHeads, Config.QueryLength, Config.KeyLength,
            Size, Size);
        double density = PipelineConfig.Pick(random, 0, 0.1, 0.25, 0.5, 0.9, 1);
        bool isBand = random.Next(3) == 0;
        for (int row = 0; row < blocks.Batch * blocks.QueryHeads * blocks.QueryBlocks; row++)
        {
            (int head, int queryBlock) = Math.DivRem(row, blocks.QueryBlocks);
            int diagonal = queryBlock + (Config.KeyLength - Config.QueryLength) / Size;
            for (int keyBlock = 0; keyBlock < blocks.KeyBlocks; keyBlock++)
            {
                bool visited = isBand ? keyBlock == 0 || Math.Abs(keyBlock - diagonal) < 2 : random.NextDouble() < density;
                if (visited)
                    blocks.Add(head / blocks.QueryHeads, head % blocks.QueryHeads, queryBlock, keyBlock, partial: random.Next(3) == 0);
            }
        }
        return blocks;
    }

    private float[] Tensor(Random random, int heads, int length, int[]? lengths, bool isKey)
    {
        PipelineConfig config = Config;
        int dim = config.HeadDim;
        var data = new float[(long)config.Batch * heads * length * dim];
        float[][] repeated = [.. Enumerable.Range(0, 3).Select(_ => Row(random))];
        for (int row = 0; row < config.Batch * heads * length; row++)
        {
            bool valid = lengths is null || row % length < lengths[row / (heads * length)];
            float[] values = config.Content == TensorContent.Ties && isKey ? repeated[random.Next(3)] : Row(random);
            float factor = (config.Content, isKey) switch
            {
                (TensorContent.Peaked, true) => 8,
                (TensorContent.Sink, true) => row % length < 4 ? 2 : 0.125f,
                _ => 1,
            };
            for (int d = 0; d < dim; d++)
                data[row * dim + d] = valid ? (float)Tolerance.Round(values[d] * factor, config.Element) : float.NaN;
        }
        return data;
    }

    private void MakeOneHot(Random random)
    {
        // Codes differ in a twelfth of the dims or more, so other keys' probabilities vanish; scores stay small enough that
        // their rounding moves no row by half an ulp of 16 bits.
        const float Factor = 32;
        int dim = Config.HeadDim;
        for (int i = 0; i < Key.Length; i++)
        {
            if (!float.IsNaN(Key[i]))
                Key[i] = Code(i / dim % Config.KeyLength, i % dim);
            if (!float.IsNaN(Value[i]))
                Value[i] = random.Next(1, 9) * (random.Next(2) == 0 ? 1 : -1);
        }
        for (int row = 0; row < Query.Length / dim; row++)
        {
            int batch = row / (Config.QueryHeads * Config.QueryLength), query = row % Config.QueryLength;
            int position = Sequence(batch).FirstQuery + query;
            int target = FindsItself(batch, query) || position < 0 ? position : random.Next(0, position + 1);
            for (int d = 0; d < dim; d++)
                Query[row * dim + d] = float.IsNaN(Query[row * dim + d]) ? float.NaN : Factor * Code(target, d);
        }

        static float Code(int position, int dimension) => (position >> dimension % 12 & 1) == 1 ? 1 : -1;
    }

    private float[] Row(Random random)
    {
        var row = new float[Config.HeadDim];
        for (int d = 0; d < row.Length; d++)
        {
            row[d] = Config.Content == TensorContent.Integers
                ? random.Next(-2, 3)
                : (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        }
        return row;
    }
}
