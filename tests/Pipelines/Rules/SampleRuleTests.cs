using AttnCompose.Conformance;
using AttnCompose.Samples;

namespace AttnCompose.Pipelines.Tests.Rules;

/// <summary>The rules of samples/Rules against their definitions in double, and what a call of a pipeline with rules refuses.</summary>
public sealed class SampleRuleTests
{
    private const int Batch = 2, Heads = 4, KeyHeads = 2, Queries = 130, Keys = 190, Dim = 32;

    private static readonly int[] s_keyLengths = [Keys, 171];
    private static readonly int[] s_queryLengths = [Queries, 101];
    private static readonly int[] s_document = [.. Enumerable.Range(0, Keys).Select(i => i * i / 2000)];
    private static readonly float[] s_slopes = AlibiAttention.Slopes(Heads);
    private static readonly float[] s_sinks = [-1, 0.5f, 3, float.NegativeInfinity];
    private static readonly int[] s_prefixes = [60, 0];
    private static readonly float[] s_bias = [.. Enumerable.Range(0, Heads * RelativeBiasAttention.Buckets).Select(i => i % 17 / 8f - 1)];

    // A score, sequence, query head, query and key.
    private delegate double Definition(double score, int batch, int head, int query, int key);

    [Fact]
    public void Alibi() => Check(
        AttentionMask.Causal, static device => AlibiAttention.Create(device), static (p, in a) => p.Run(in a, s_slopes),
        static (score, _, head, query, key) => score - Math.Pow(2, -8.0 * (head + 1) / Heads) * (query - key));

    [Fact]
    public void Soft_cap() => Check(
        AttentionMask.Causal, static device => SoftCapAttention.Create(device, new() { Cap = 2 }), static (p, in a) => p.Run(in a),
        static (score, _, _, _, _) => 2 * Math.Tanh(score / 2));

    [Fact]
    public void Fast_soft_cap() => Check(
        AttentionMask.Causal, static device => FastSoftCapAttention.Create(device, new() { Cap = 2 }), static (p, in a) => p.Run(in a),
        static (score, _, _, _, _) => 2 * Math.Tanh(score / 2));

    [Fact]
    public void Sinks() => Check(
        AttentionMask.Causal, static device => SinkAttention.Create(device), static (p, in a) => p.Run(in a, s_sinks),
        static (score, _, _, _, _) => score, static head => s_sinks[head]);

    [Fact]
    public void Sinks_beside_a_selection_that_keeps_all_and_a_window() => Check(
        AttentionMask.Causal, static device => SparseSinkAttention.Create(device, new() { Coverage = 0, Span = 40 }),
        static (p, in a) => p.Run(in a, s_sinks),
        static (score, _, _, query, key) => query - key < 40 ? score : double.NegativeInfinity, static head => s_sinks[head]);

    [Fact]
    public void Sliding_window() => Check(
        AttentionMask.Causal, static device => SlidingWindowAttention.Create(device, new() { Window = 33, Sinks = 4 }),
        static (p, in a) => p.Run(in a),
        static (score, _, _, query, key) => query - key < 33 || key < 4 ? score : double.NegativeInfinity);

    [Fact]
    public void Prefix() => Check(
        AttentionMask.Full, static device => PrefixAttention.Create(device), static (p, in a) => p.Run(in a, s_prefixes),
        static (score, batch, _, query, key) => key <= query || key < s_prefixes[batch] ? score : double.NegativeInfinity);

    [Fact]
    public void Packed_documents() => Check(
        AttentionMask.Causal, static device => PackedAttention.Create(device), static (p, in a) => p.Run(in a, s_document),
        static (score, _, _, query, key) => s_document[query] == s_document[key] ? score : double.NegativeInfinity);

    [Fact]
    public void Relative_bias() => Check(
        AttentionMask.Causal, static device => RelativeBiasAttention.Create(device), static (p, in a) => p.Run(in a, s_bias),
        static (score, _, head, query, key) => score + s_bias[head * RelativeBiasAttention.Buckets + Bucket(query - key)]);

    [Theory]
    [InlineData(15, 15)]
    [InlineData(16, 16)]
    [InlineData(128, 31)]
    [InlineData(1_000_000, 31)]
    public void Buckets_of_distance_grow(int distance, int bucket) => Assert.Equal(bucket, RelativeBiasAttention.Bucket(distance));

    [Fact]
    public void A_span_that_is_too_short_is_refused()
    {
        using var device = AttentionDevice.Cpu(1);
        using PackedAttention pipeline = PackedAttention.Create(device);
        var data = new Tensors();
        string message = Assert.Throws<ArgumentException>("document", () => pipeline.Run(data.Arguments, new int[Keys - 1])).Message;
        Assert.Contains("document has 189 elements; a rule reads one a key, and there are 190", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_call_without_the_spans_says_which_are_missing()
    {
        using var device = AttentionDevice.Cpu(1);
        using PackedAttention pipeline = PackedAttention.Create(device);
        var data = new Tensors();
        string message = Assert.Throws<InvalidOperationException>(() => ((IAttentionPipeline)pipeline).Run(data.Arguments)).Message;
        Assert.Contains("take document", message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_index_outside_a_span_throws()
    {
        using var device = AttentionDevice.Cpu(2);
        using RelativeBiasAttention pipeline = RelativeBiasAttention.Create(device);
        var data = new Tensors();
        Assert.Throws<IndexOutOfRangeException>(() => pipeline.Run(data.Arguments, new float[3]));
        pipeline.Run(data.Arguments, s_bias);
    }

    [Fact]
    public void Options_of_rules_are_options()
    {
        using var device = AttentionDevice.Cpu(1);
        Assert.Throws<ArgumentOutOfRangeException>("Cap", () => SoftCapAttention.Create(device, new() { Cap = 0.5f }));
        Assert.Equal(50, new SoftCapAttention.Options().Cap);
        Assert.Equal(["Window", "Sinks"], SlidingWindowAttention.Plan.Parameters.Select(p => p.Name));
        using IAttentionPipeline byName = SoftCapAttention.Descriptor.Create(device, [new("Cap", "2")]);
        using SoftCapAttention pipeline = SoftCapAttention.Create(device);
        Tensors named = new(), first = new(), second = new();
        byName.Run(named.Arguments);
        pipeline.Run(first.Arguments);
        pipeline.Configure(new() { Cap = 2 });
        pipeline.Run(second.Arguments);
        Assert.Equal(named.Output, second.Output);
        Assert.NotEqual(first.Output, second.Output);
    }

    [Fact]
    public void The_second_run_with_spans_allocates_nothing()
    {
        using var device = AttentionDevice.Cpu(1);
        using PackedAttention pipeline = PackedAttention.Create(device);
        var data = new Tensors();
        for (int i = 0; i < 3; i++)
            pipeline.Run(data.Arguments, s_document);
        // The runtime may allocate on this thread when it compiles a method again, once; what the call allocates, each has.
        long least = Enumerable.Range(0, 5).Min(_ =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            pipeline.Run(data.Arguments, s_document);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        });
        Assert.Equal(0, least);
    }

    private static int Bucket(int distance) =>
        distance < 16 ? distance : Math.Min(31, 16 + (int)(Math.Log(distance / 16.0) / Math.Log(8) * 16 + 1e-6));

    private static void Check<T>(
        AttentionMask mask, Func<AttentionDevice, T> create, Call<T> call, Definition definition, Func<int, double>? sink = null)
        where T : IAttentionPipeline
    {
        using var device = AttentionDevice.Cpu(2);
        using T pipeline = create(device);
        var data = new Tensors();
        call(pipeline, data.Arguments);
        int[] keys = [.. Enumerable.Range(0, Keys)];
        for (int batch = 0; batch < Batch; batch++)
        {
            for (int head = 0; head < Heads; head++)
            {
                int row = batch * Heads + head, keyRow = batch * KeyHeads + head / (Heads / KeyHeads);
                ReadOnlyMemory<float> query = data.Query.AsMemory(row * Queries * Dim, Queries * Dim);
                ReadOnlyMemory<float> key = data.Key.AsMemory(keyRow * Keys * Dim, Keys * Dim), value = data.Value.AsMemory(keyRow * Keys * Dim, Keys * Dim);
                double[] truth = Attend<double>(out double[] truthLse);
                float[] single = Attend<float>(out _);
                string? wrong = Tolerance.Judge(
                    data.Output.AsSpan(row * Queries * Dim, Queries * Dim), truth, single, ElementType.Float32, largestScore: 40, ElementType.Any, out _);
                Assert.True(wrong is null, $"batch {batch} head {head}: {wrong}");
                Assert.All(Enumerable.Range(0, Queries), i => Assert.True(Tolerance.LogSumExpIsClose(data.LogSumExp[row * Queries + i], truthLse[i])));

                TReal[] Attend<TReal>(out TReal[] logSumExp)
                    where TReal : struct, System.Numerics.IFloatingPointIeee754<TReal>
                {
                    var output = new TReal[Queries * Dim];
                    logSumExp = new TReal[Queries];
                    int b = batch, h = head;
                    AttentionOracle.Attend(
                        query.Span, key.Span, value.Span, Dim, s_keyLengths[b] - s_queryLengths[b], keys.AsSpan(0, s_keyLengths[b]),
                        keys.AsSpan(0, s_queryLengths[b]), mask == AttentionMask.Causal, 1 / Math.Sqrt(Dim),
                        (score, i, j) => definition(score, b, h, i, j), output.AsSpan(), logSumExp.AsSpan(),
                        sink: sink?.Invoke(h) ?? double.NegativeInfinity);
                    return output;
                }
            }
        }
    }

    private delegate void Call<in T>(T pipeline, in AttentionArguments<float, float> arguments);

    private sealed class Tensors
    {
        public float[] Query { get; } = Random(1, Heads * Queries);

        public float[] Key { get; } = Random(2, KeyHeads * Keys);

        public float[] Value { get; } = Random(3, KeyHeads * Keys);

        public float[] Output { get; } = new float[Batch * Heads * Queries * Dim];

        public float[] LogSumExp { get; } = new float[Batch * Heads * Queries];

        public AttentionArguments<float, float> Arguments => new()
        {
            Query = AttentionTensor.FromBhld(Query, Batch, Heads, Queries, Dim),
            Key = AttentionTensor.FromBhld(Key, Batch, KeyHeads, Keys, Dim),
            Value = AttentionTensor.FromBhld(Value, Batch, KeyHeads, Keys, Dim),
            Output = AttentionTensor.FromBhld(Output, Batch, Heads, Queries, Dim),
            LogSumExp = AttentionTensor.LogSumExp(LogSumExp, Batch, Heads, Queries),
            KeyLengths = s_keyLengths, QueryLengths = s_queryLengths,
        };

        private static float[] Random(int seed, int rows)
        {
            var random = new Random(seed);
            return [.. Enumerable.Range(0, Batch * rows * Dim).Select(_ => random.NextSingle() * 4 - 2)];
        }
    }
}
