namespace AttnCompose.Conformance;

/// <summary>
/// The inputs of a configuration, and the verdict on what a pipeline made of them. Use: make a case, run a pipeline over it
/// (<see cref="Run"/> on host memory, or fill a <see cref="PipelineResult"/> from a device), then <see cref="Check"/>.
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

    /// <summary>Factor of query times key.</summary>
    public float Scale => 1 / MathF.Sqrt(Config.HeadDim);

    /// <summary>Element type of the output.</summary>
    public ElementType OutputElement => Config.FloatOutput ? ElementType.Float32 : Config.Element;

    /// <summary>The score rule in double, or null.</summary>
    public ScoreRule? Rule => Config.Rule switch
    {
        RuleKind.Distance => static (score, query, key) => score - 0.0625 * Math.Abs(query - key),
        RuleKind.MaskFifths => static (score, query, key) => key % 5 == 4 ? double.NegativeInfinity : score,
        _ => null,
    };

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

    /// <summary>What is wrong with a result: one line each, the replay line included; empty where all is well.</summary>
    public IReadOnlyList<string> Check(PipelineResult result)
    {
        var verdict = new PipelineVerdict(this, result);
        return [.. verdict.Failures().Select(failure => $"{failure}\n  replay: {Config}")];
    }

    private PipelineResult Run<T, TOut>(IAttentionPipeline pipeline)
        where T : unmanaged
        where TOut : unmanaged
    {
        PipelineConfig config = Config;
        int batch = config.Batch, heads = config.QueryHeads, length = config.QueryLength;
        var query = new HostTensor<T>(config.Layout, batch, heads, length, config.HeadDim);
        var key = new HostTensor<T>(config.Layout, batch, config.KeyValueHeads, config.KeyLength, config.HeadDim);
        var value = new HostTensor<T>(config.Layout, batch, config.KeyValueHeads, config.KeyLength, config.HeadDim);
        var output = new HostTensor<TOut>(config.Layout, batch, heads, length, config.HeadDim);
        query.Fill(Query);
        key.Fill(Key);
        value.Fill(Value);
        var logSumExp = new float[batch * heads * length];
        Array.Fill(logSumExp, float.NaN);
        var selection = new TokenSelection { WantsScores = true };
        pipeline.Run(new AttentionArguments<T, TOut>
        {
            Query = query.View, Key = key.View, Value = value.View, Output = output.View,
            LogSumExp = AttentionTensor.LogSumExp(logSumExp, batch, heads, length),
            KeyLengths = KeyLengths, QueryLengths = QueryLengths, Selection = config.Sparse ? selection : null,
        });
        if (!config.Sparse)
            return new PipelineResult { Output = output.ToArray(), LogSumExp = logSumExp };
        (int B, int H)[] rows = [.. Enumerable.Range(0, batch * heads).Select(i => (i / heads, i % heads))];
        return new PipelineResult
        {
            Output = output.ToArray(),
            LogSumExp = logSumExp,
            Positions = [.. rows.Select(row => selection.Positions(row.B, row.H).ToArray())],
            QueryBegins = [.. rows.Select(row => selection.QueryBegin(row.B, row.H))],
            Scores = selection.ScoreLength == 0 ? null : [.. rows.Select(row =>
                selection.Scores(row.B, row.H)[..Math.Max(0, Sequence(row.B).KeyLength - config.Window)].ToArray())],
        };
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
