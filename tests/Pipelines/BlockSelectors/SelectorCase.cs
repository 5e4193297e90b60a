using AttnCompose.Conformance;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Tests.FlashAttention;

namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>
/// A problem drawn from a seed, with or without a token selection and a rule, and what a block selector chooses in it.
/// </summary>
internal sealed class SelectorCase : ICpuPipeline
{
    private readonly BlockSparseAttentionAttribute _kernel;
    private readonly TokenSelection? _tokens;
    private readonly int[] _keyLengths, _queryLengths;
    private readonly float[] _query, _key;
    private readonly DrawnTensors _gates;
    private BlockSelectorAttribute? _selector;

    private static readonly TensorPlan[] s_gates =
    [
        new("query_gate", "float", [new("QueryHeads", 0), new("HeadDim", 0), new("GateDim", GateDim)], "GateWeights", ""),
        new("key_gate", "float", [new("QueryHeads", 0), new("3", 3), new("HeadDim", 0), new("GateDim", GateDim)], "GateWeights", ""),
    ];

    public SelectorCase(int seed, int mostKeys = 900, bool causal = false)
    {
        Seed = seed;
        var random = new Random(seed);
        Batch = random.Next(1, 3);
        KeyValueHeads = random.Next(1, 3);
        QueryHeads = KeyValueHeads * random.Next(1, 4);
        KeyLength = random.Next(1, mostKeys);
        QueryLength = random.Next(2) == 0 ? KeyLength : random.Next(1, KeyLength + 1);
        Dim = random.Next(2) == 0 ? 8 : 40;
        Mask = causal || random.Next(4) != 0 ? AttentionMask.Causal : AttentionMask.Full;
        HasRule = random.Next(4) == 0;
        _kernel = new() { BlockQuery = 64 * random.Next(1, 3), BlockKey = 64 * random.Next(1, 3) };
        _keyLengths = [.. Enumerable.Range(0, Batch).Select(_ => random.Next(2) == 0 ? KeyLength : random.Next(1, KeyLength + 1))];
        _queryLengths = [.. _keyLengths.Select(k => random.Next(0, Math.Min(k, QueryLength) + 1))];
        if (random.Next(3) == 0)
            _tokens = Tokens(random);
        _query = Tensor(random, QueryHeads, QueryLength, isKey: false);
        _key = Tensor(random, KeyValueHeads, KeyLength, isKey: true);
        _gates = new DrawnTensors(s_gates, new(Batch, QueryHeads, KeyValueHeads, QueryLength, KeyLength, Dim), seed);
    }

    public int Seed { get; }
    public int Batch { get; }
    public int KeyValueHeads { get; }
    public int QueryHeads { get; }
    public int KeyLength { get; }
    public int QueryLength { get; }
    public int Dim { get; }
    public AttentionMask Mask { get; }
    public bool HasRule { get; }

    /// <summary>Channels of the gate of [GateWeights].</summary>
    public const int GateDim = 16;

    BlockStages? ICpuPipeline.Blocks => new(_selector!, _kernel);

    IReadOnlyList<TensorPlan> ICpuPipeline.Tensors => _selector is GateWeightsAttribute ? s_gates : [];

    /// <summary>What a selector chooses, on a device of its own worker count.</summary>
    public BlockMask Choose(BlockSelectorAttribute selector, int workers = 2, HeadSet denseHeads = default)
    {
        _selector = selector;
        var chosen = new BlockMask();
        var output = new float[_query.Length];
        using CpuDevice device = AttentionDevice.Cpu(workers);
        using var runner = new CpuPipelineRunner(device, "selector", Mask, 0, ElementType.Any);
        runner.Run(this, new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld(_query, Batch, QueryHeads, QueryLength, Dim),
            Key = AttentionTensor.FromBhld(_key, Batch, KeyValueHeads, KeyLength, Dim),
            Value = AttentionTensor.FromBhld(_key, Batch, KeyValueHeads, KeyLength, Dim),
            Output = AttentionTensor.FromBhld(output, Batch, QueryHeads, QueryLength, Dim),
            KeyLengths = _keyLengths, QueryLengths = _queryLengths, BlockSelection = chosen,
            DenseHeads = denseHeads, Tensors = selector is GateWeightsAttribute ? _gates.Host() : null,
        });
        return chosen;
    }

    /// <summary>Runs the selector alone; there is no need to attend.</summary>
    public void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
        where T : unmanaged
        where TOut : unmanaged
    {
        CpuInputs<T> inputs = problem.Inputs;
        if (_tokens is null)
            With(default(DirectRows));
        else
            With(new IndexedRows(_tokens));

        void With<TRows>(TRows rows) where TRows : struct, IRowSource
        {
            if (HasRule)
                _selector!.Select(in inputs, cpu, rows, default(AlibiHook), cpu.Blocks);
            else
                _selector!.Select(in inputs, cpu, rows, default(NoScoreHook), cpu.Blocks);
        }
    }

    /// <summary>Each head that has a query, as the oracle takes it.</summary>
    public IEnumerable<(int Batch, int Head, BlockHead Rows)> Heads()
    {
        for (int b = 0; b < Batch; b++)
        {
            for (int h = 0; h < QueryHeads; h++)
            {
                int keys = _keyLengths[b], first = keys - _queryLengths[b];
                int[] positions = _tokens is null ? [.. Enumerable.Range(0, keys)] : _tokens.Positions(b, h).ToArray();
                int begin = _tokens?.QueryBegin(b, h) ?? first;
                int keyHead = b * KeyValueHeads + h / (QueryHeads / KeyValueHeads);
                (int batch, int head) = (b, h);
                yield return (b, h, new BlockHead
                {
                    Query = Gather(_query, (b * QueryHeads + h) * QueryLength, positions[begin..].Select(p => p - first)),
                    Key = Gather(_key, keyHead * KeyLength, positions),
                    Dim = Dim, BlockQuery = _kernel.BlockQuery, BlockKey = _kernel.BlockKey,
                    Causal = Mask == AttentionMask.Causal, Scale = 1 / Math.Sqrt(Dim),
                    Gate = (_gates.Of("query_gate", h), _gates.Of("key_gate", h)),
                    Rule = HasRule
                        ? (score, query, key) => AlibiHook.Score(score, batch, head, positions[query], positions[key])
                        : null,
                });
            }
        }
    }

    /// <summary>Fails where the words of a head are not as told: visited pairs, and which of them a rule decides in.</summary>
    public void AssertVisits(bool[,] expected, BlockMask actual, int batch, int head)
    {
        for (int i = 0; i < actual.QueryBlocks; i++)
        {
            for (int j = 0; j < actual.KeyBlocks; j++)
            {
                bool visits = i < expected.GetLength(0) && j < expected.GetLength(1) && expected[i, j];
                string where = $"seed {Seed}, sequence {batch}, head {head}, query block {i}, key block {j}";
                Assert.True(visits == actual.Visits(batch, head, i, j), $"{where}: {(visits ? "not visited" : "visited")}");
                Assert.True((visits && HasRule) == actual.IsPartial(batch, head, i, j), $"{where}: partial");
            }
        }
    }

    /// <summary>The same for what a selector that ranks must visit, and may.</summary>
    public void AssertVisits(BlockChoiceBand expected, BlockMask actual, int batch, int head)
    {
        for (int i = 0; i < actual.QueryBlocks; i++)
        {
            for (int j = 0; j < actual.KeyBlocks; j++)
            {
                bool inside = i < expected.May.GetLength(0) && j < expected.May.GetLength(1);
                bool visits = actual.Visits(batch, head, i, j);
                string where = $"seed {Seed}, sequence {batch}, head {head}, query block {i}, key block {j}";
                Assert.True(
                    visits ? inside && expected.May[i, j] : !inside || !expected.Must[i, j],
                    $"{where}: {(visits ? "visited" : "not visited")}");
                Assert.True((visits && HasRule) == actual.IsPartial(batch, head, i, j), $"{where}: partial");
            }
        }
    }

    /// <summary>Makes every key NaN.</summary>
    public void Poison() => Array.Fill(_key, float.NaN);

    private float[] Gather(float[] from, int firstRow, IEnumerable<int> rows) =>
        [.. rows.SelectMany(row => from.AsSpan((firstRow + row) * Dim, Dim).ToArray())];

    private TokenSelection Tokens(Random random)
    {
        var tokens = new TokenSelection();
        tokens.Reset(Batch, QueryHeads, KeyLength);
        for (int b = 0; b < Batch; b++)
        {
            for (int h = 0; h < QueryHeads; h++)
            {
                int[] kept = [.. Enumerable.Range(0, _keyLengths[b]).Where(_ => random.Next(3) != 0)];
                kept.CopyTo(tokens.Buffer(b, h));
                tokens.SetCounts(b, h, kept.Length, kept.Count(p => p < _keyLengths[b] - _queryLengths[b]));
            }
        }
        return tokens;
    }

    // A direction that all queries share and few keys have, some of them at the beginning: there is something to find.
    private float[] Tensor(Random random, int heads, int length, bool isKey)
    {
        var data = new float[Batch * heads * length * Dim];
        for (int row = 0; row < Batch * heads * length; row++)
        {
            float shared = !isKey || row % length < 4 || random.Next(40) == 0 ? 1.5f : 0;
            for (int d = 0; d < Dim; d++)
                data[row * Dim + d] = (float)(Normal(random) + (d % 4 == 0 ? shared : 0));
        }
        return data;

        static double Normal(Random random) =>
            Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
    }
}
