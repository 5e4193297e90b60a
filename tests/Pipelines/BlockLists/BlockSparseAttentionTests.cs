using AttnCompose.Conformance;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Tests.FlashAttention;

namespace AttnCompose.Pipelines.Tests.BlockLists;

/// <summary>
/// The CPU loop against plain attention in double over each query's own set of keys: the union of its blocks, columns and
/// slashes, cut by the mask.
/// </summary>
public sealed class BlockSparseAttentionTests : IDisposable
{
    private readonly CpuDevice _device = AttentionDevice.Cpu(2);

    public static TheoryData<int> Seeds => [.. Enumerable.Range(0, 24)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Every_query_attends_to_its_own_keys(int slice)
    {
        for (int seed = 16 * slice; seed < 16 * (slice + 1); seed++)
            new Case(seed).Check(_device);
    }

    [Fact]
    public void Rows_that_visit_nothing_are_zero_and_everything_visited_is_dense()
    {
        const int Length = 300, Dim = 64;
        float[] data = Normal(new Random(5), Length * Dim), sparse = new float[data.Length], dense = new float[data.Length];
        var lse = new float[Length];
        var visit = new bool[9];
        visit[0] = visit[6] = visit[7] = visit[8] = true; // the middle query block visits nothing
        using BlockSparse pipeline = BlockSparse.Create(_device);
        Run(visit, sparse, lse);
        Assert.All(sparse[(128 * Dim)..(256 * Dim)], x => Assert.Equal(0u, BitConverter.SingleToUInt32Bits(x)));
        Assert.All(lse[128..256], x => Assert.Equal(float.NegativeInfinity, x));
        using DenseAttention reference = DenseAttention.Create(_device);
        reference.Run<float, float>(View(data), View(data), View(data), View(dense));
        Array.Fill(visit, true);
        Run(visit, sparse, lse);
        for (int i = 0; i < dense.Length; i++)
            Assert.Equal(dense[i], sparse[i], 1e-5f);

        void Run(bool[] visit, float[] output, float[] lse) => pipeline.Run(new AttentionArguments<float, float>
        {
            Query = View(data), Key = View(data), Value = View(data), Output = View(output),
            LogSumExp = AttentionTensor.LogSumExp(lse, 1, 1, Length),
            Blocks = BlockMask.FromDense(visit, 1, 1, Length, Length, 128, 128),
        });

        static System.Numerics.Tensors.TensorSpan<float> View(float[] x) => AttentionTensor.FromBhld(x, 1, 1, Length, Dim);
    }

    [Fact]
    public void A_list_that_does_not_fit_is_refused_before_anything_is_computed()
    {
        const int Length = 200, Dim = 8;
        var data = new float[Length * Dim];
        float[] output = [.. Enumerable.Repeat(7f, data.Length)];
        using BlockSparse pipeline = BlockSparse.Create(_device);
        using DenseAttention dense = DenseAttention.Create(_device);
        Refused(pipeline, null, "set Blocks");
        Refused(pipeline, BlockMask.FromDense(new bool[16], 1, 1, Length, Length, 64, 64), "blocks of 64 queries by 64 keys");
        Refused(pipeline, BlockMask.FromDense(new bool[6], 1, 1, Length, 300, 128, 128), "[1, 1, 200, 300]");
        Refused(pipeline, BlockMask.FromDense(new bool[8], 1, 2, Length, Length, 128, 128), "[1, 2, 200, 200]");
        var columns = new BlockMask();
        columns.Reset(1, 1, Length, Length, 128, 128, columns: true);
        Refused(pipeline, columns, "has columns");
        Refused(dense, BlockMask.FromDense(new bool[4], 1, 1, Length, Length, 128, 128), "takes no block list");
        Assert.All(output, x => Assert.Equal(7f, x));

        void Refused(IAttentionPipeline pipeline, BlockMask? blocks, string why)
        {
            ArgumentException error = Assert.Throws<ArgumentException>(() => pipeline.Run(new AttentionArguments<float, float>
            {
                Query = AttentionTensor.FromBhld(data, 1, 1, Length, Dim), Key = AttentionTensor.FromBhld(data, 1, 1, Length, Dim),
                Value = AttentionTensor.FromBhld(data, 1, 1, Length, Dim), Output = AttentionTensor.FromBhld(output, 1, 1, Length, Dim),
                Blocks = blocks,
            }));
            Assert.Contains(why, error.Message);
            Assert.Equal("Blocks", error.ParamName);
        }
    }

    public void Dispose() => _device.Dispose();

    private static float[] Normal(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ =>
        (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];

    /// <summary>A problem, its list, and the pipeline as the generator would put it together.</summary>
    private sealed class Case : ICpuPipeline
    {
        private readonly int _seed, _batch, _heads, _keyHeads, _queries, _keys, _dim;
        private readonly AttentionMask _mask;
        private readonly Rule _rule;
        private readonly BlockMask _blocks;
        private readonly TokenSelection? _tokens;
        private readonly int[] _keyLengths, _queryLengths;
        private readonly BlockSparseAttentionAttribute _kernel;
        private readonly GivenBlocksAttribute _selector;

        public Case(int seed)
        {
            _seed = seed;
            var random = new Random(seed);
            _batch = random.Next(1, 3);
            _keyHeads = random.Next(1, 3);
            _heads = _keyHeads * random.Next(1, 4);
            _keys = random.Next(1, 700);
            _queries = random.Next(2) == 0 ? _keys : random.Next(1, _keys + 1);
            _dim = random.Next(2) == 0 ? 8 : 40;
            _mask = random.Next(4) == 0 ? AttentionMask.Full : AttentionMask.Causal;
            _rule = (Rule)random.Next(3);
            _kernel = new() { BlockQuery = 64 * random.Next(1, 3), BlockKey = 64 * random.Next(1, 3) };
            _selector = new() { Columns = random.Next(2) == 0, Slashes = random.Next(2) == 0 };
            _keyLengths = [.. Enumerable.Range(0, _batch).Select(_ => random.Next(2) == 0 ? _keys : random.Next(1, _keys + 1))];
            _queryLengths = [.. _keyLengths.Select(k => random.Next(0, Math.Min(k, _queries) + 1))];
            if (random.Next(3) == 0)
                _tokens = Tokens(random);
            _blocks = Blocks(random);
        }

        BlockStages? ICpuPipeline.Blocks => new(_selector, _kernel);

        public void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
            where T : unmanaged
            where TOut : unmanaged
        {
            if (_tokens is null)
                With(in problem, cpu, default(DirectRows));
            else
                With(in problem, cpu, new IndexedRows(_tokens));
        }

        public void Check(CpuDevice device)
        {
            var random = new Random(_seed ^ 0xB10C);
            float[] query = Normal(random, _batch * _heads * _queries * _dim), key = Normal(random, _batch * _keyHeads * _keys * _dim);
            float[] value = Normal(random, key.Length), output = new float[query.Length], lse = new float[_batch * _heads * _queries];
            Array.Fill(output, float.NaN);
            using var runner = new CpuPipelineRunner(device, "case", _mask, 0, ElementType.Any);
            runner.Run(this, new AttentionArguments<float, float>
            {
                Query = AttentionTensor.FromBhld(query, _batch, _heads, _queries, _dim),
                Key = AttentionTensor.FromBhld(key, _batch, _keyHeads, _keys, _dim),
                Value = AttentionTensor.FromBhld(value, _batch, _keyHeads, _keys, _dim),
                Output = AttentionTensor.FromBhld(output, _batch, _heads, _queries, _dim),
                LogSumExp = AttentionTensor.LogSumExp(lse, _batch, _heads, _queries),
                KeyLengths = _keyLengths, QueryLengths = _queryLengths, Blocks = _blocks,
            });
            var truth = new double[_queries * _dim];
            var truthLse = new double[_queries];
            for (int row = 0; row < _batch * _heads; row++)
            {
                (int b, int h) = (row / _heads, row % _heads);
                int keyHead = b * _keyHeads + h / (_heads / _keyHeads);
                int first = _keyLengths[b] - _queryLengths[b];
                for (int i = 0; i < _queries; i++)
                {
                    // One query at a time, over the keys that its list leaves.
                    AttentionOracle.Attend<double>(
                        query.AsSpan(row * _queries * _dim, _queries * _dim), key.AsSpan(keyHead * _keys * _dim, _keys * _dim),
                        value.AsSpan(keyHead * _keys * _dim, _keys * _dim), _dim, first, KeysOf(b, h, i, out bool takesPart),
                        takesPart ? [i] : [], causal: false, 1 / Math.Sqrt(_dim), RuleOf(b, h), truth, truthLse);
                    for (int d = 0; d < _dim; d++)
                        Assert.True(Math.Abs(output[(row * _queries + i) * _dim + d] - truth[i * _dim + d]) < 2e-5, $"seed {_seed}, row {row}, query {i}");
                    float actual = lse[row * _queries + i];
                    Assert.True(actual == truthLse[i] || Math.Abs(actual - truthLse[i]) < 1e-4, $"seed {_seed}, row {row}, query {i}: log-sum-exp");
                }
            }
        }

        private ScoreRule? RuleOf(int b, int h) => _rule switch
        {
            Rule.Alibi => (score, query, key) => AlibiHook.Score(score, b, h, query, key),
            Rule.Mask => (score, query, key) => MaskHook.Sees(h / (_heads / _keyHeads), query, key) ? score : double.NegativeInfinity,
            _ => null,
        };

        /// <summary>The keys of a query by the definition, pair by pair.</summary>
        private int[] KeysOf(int b, int h, int query, out bool takesPart)
        {
            int[] positions = _tokens is null ? [.. Enumerable.Range(0, _keyLengths[b])] : _tokens.Positions(b, h).ToArray();
            int begin = _tokens?.QueryBegin(b, h) ?? _keyLengths[b] - _queryLengths[b];
            int own = Array.IndexOf(positions, _keyLengths[b] - _queryLengths[b] + query);
            takesPart = query < _queryLengths[b] && own >= 0;
            if (!takesPart)
                return [];
            int queryBlock = (own - begin) / _kernel.BlockQuery;
            int[] columns = _blocks.Columns(b, h).ToArray();
            return [.. Enumerable.Range(0, positions.Length)
                .Where(j => _mask == AttentionMask.Full || j <= own)
                .Where(j => _blocks.Visits(b, h, queryBlock, j / _kernel.BlockKey) || columns.Contains(j) || _blocks.HasSlash(b, h, own - j))
                .Select(j => positions[j])];
        }

        private TokenSelection Tokens(Random random)
        {
            var tokens = new TokenSelection();
            tokens.Reset(_batch, _heads, _keys);
            for (int b = 0; b < _batch; b++)
            {
                for (int h = 0; h < _heads; h++)
                {
                    int[] kept = [.. Enumerable.Range(0, _keyLengths[b]).Where(_ => random.Next(3) != 0)];
                    kept.CopyTo(tokens.Buffer(b, h));
                    tokens.SetCounts(b, h, kept.Length, kept.Count(p => p < _keyLengths[b] - _queryLengths[b]));
                }
            }
            return tokens;
        }

        private BlockMask Blocks(Random random)
        {
            var blocks = new BlockMask();
            blocks.Reset(
                random.Next(2) == 0 ? 1 : _batch, random.Next(2) == 0 ? 1 : _heads, _queries, _keys, _kernel.BlockQuery, _kernel.BlockKey,
                _selector.Columns, _selector.Slashes);
            double density = random.NextDouble();
            for (int b = 0; b < blocks.Batch; b++)
            {
                for (int h = 0; h < blocks.QueryHeads; h++)
                {
                    for (int pair = 0; pair < blocks.QueryBlocks * blocks.KeyBlocks; pair++)
                    {
                        if (random.NextDouble() < density)
                            blocks.Add(b, h, pair / blocks.KeyBlocks, pair % blocks.KeyBlocks, random.Next(2) == 0);
                    }
                    if (_selector.Columns)
                        blocks.SetColumns(b, h, [.. Enumerable.Range(0, _keys).Where(_ => random.Next(5) == 0)]);
                    for (int slash = random.Next(0, 5); _selector.Slashes && slash > 0; slash--)
                        blocks.AddSlash(b, h, random.Next(0, _keys));
                }
            }
            return blocks;
        }

        private void With<T, TOut, TRows>(in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows)
            where T : unmanaged
            where TOut : unmanaged
            where TRows : struct, IRowSource
        {
            switch (_rule)
            {
                case Rule.Alibi: Attend(in problem, default(AlibiHook)); break;
                case Rule.Mask: Attend(in problem, default(MaskHook)); break;
                default: Attend(in problem, default(NoScoreHook)); break;
            }

            void Attend<TScore>(in CpuProblem<T, TOut> problem, TScore scores) where TScore : struct, IScoreHook =>
                _kernel.Attend(in problem, cpu, rows, cpu.Blocks, scores, default(DirectDestination));
        }
    }
}
