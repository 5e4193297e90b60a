using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests.Calls;

/// <summary>A call that cannot work throws before anything is computed, and says what it got and what it needs.</summary>
public sealed class ArgumentTests : IDisposable
{
    private const int Heads = 2, Length = 6, Dim = 16, Count = Heads * Length * Dim;
    private const float Untouched = 42;

    private readonly CpuDevice _device = AttentionDevice.Cpu(1);
    private readonly DenseAttention _pipeline;
    private readonly float[] _query = Values(1), _key = Values(2), _value = Values(3), _output = new float[Count];
    private readonly float[] _logSumExp = new float[Heads * Length];

    public ArgumentTests()
    {
        _pipeline = DenseAttention.Create(_device);
        _output.AsSpan().Fill(Untouched);
    }

    public void Dispose()
    {
        _pipeline.Dispose();
        _device.Dispose();
    }

    // Batch, heads, length and dim of query, key, value and output; what is said of them.
    [Theory]
    [InlineData("1,2,6,16", "1,2,6,16", "1,2,5,16", "1,2,6,16", "value is [1, 2, 5, 16] but key is [1, 2, 6, 16]")]
    [InlineData("1,2,6,16", "1,2,3,16", "1,2,6,16", "1,2,6,16", "they must be alike")] // not that causal needs more keys
    [InlineData("1,2,6,16", "2,1,6,16", "2,1,6,16", "1,2,6,16", "batch and head dim must agree")]
    [InlineData("1,2,6,16", "1,2,12,8", "1,2,12,8", "1,2,6,16", "batch and head dim must agree")]
    [InlineData("1,2,6,16", "1,2,6,16", "1,2,6,16", "1,2,5,16", "must have the query's shape [1, 2, 6, 16]")]
    [InlineData("1,3,4,16", "1,2,4,16", "1,2,4,16", "1,3,4,16", "3 query heads are not a multiple of 2")]
    [InlineData("1,2,6,16", "1,0,6,16", "1,0,6,16", "1,2,6,16", "2 query heads are not a multiple of 0")]
    [InlineData("1,2,6,16", "1,2,5,16", "1,2,5,16", "1,2,6,16", "got 6 queries and 5 keys")]
    [InlineData("1,2,6,12", "1,2,6,12", "1,2,6,12", "1,2,6,12", "Head dim 12 is not a multiple of 8")]
    [InlineData("1,2,6,0", "1,2,6,0", "1,2,6,0", "1,2,6,0", "Head dim 0")]
    public void A_wrong_shape_says_what_it_got(string query, string key, string value, string output, string said) =>
        Refused(said, () => _pipeline.Run(View(_query, query), View(_key, key), View(_value, value), View(_output, output)));

    [Fact]
    public void A_tensor_that_was_never_set_is_named() =>
        Refused("query is []", () => _pipeline.Run(new AttentionArguments<float, float>
        {
            Query = default, Key = View(_key), Value = View(_value), Output = View(_output),
        }));

    [Fact]
    public void An_output_that_shares_memory_with_an_input_is_refused()
    {
        Refused("output shares memory with query", () => _pipeline.Run(View(_query), View(_key), View(_value), View(_query)));
        Refused("output shares memory with key", () => _pipeline.Run(View(_query), View(_key), View(_value), View(_key)));
        float[] both = new float[2 * Count - 1]; // the last value is the first output
        Refused("output shares memory with value", () => _pipeline.Run(
            View(_query), View(_key), AttentionTensor.FromBhld(both.AsSpan(0, Count), 1, Heads, Length, Dim),
            AttentionTensor.FromBhld(both.AsSpan(Count - 1), 1, Heads, Length, Dim)));
    }

    [Fact]
    public void Log_sum_exp_that_shares_memory_is_refused()
    {
        Refused("LogSumExp shares memory with output", () => Run(AttentionTensor.LogSumExp(_output, 1, Heads, Length)));
        Refused("LogSumExp shares memory with value", () => Run(AttentionTensor.LogSumExp(_value, 1, Heads, Length)));
        Refused("LogSumExp is [1, 2, 5]", () => Run(AttentionTensor.LogSumExp(_logSumExp, 1, Heads, Length - 1)));
    }

    [Fact]
    public void Neighbours_in_memory_are_fine()
    {
        float[] qkv = [.. _query, .. _key, .. _value, .. _output];
        _pipeline.Run(
            AttentionTensor.FromBhld(qkv.AsSpan(0, Count), 1, Heads, Length, Dim),
            AttentionTensor.FromBhld(qkv.AsSpan(Count, Count), 1, Heads, Length, Dim),
            AttentionTensor.FromBhld(qkv.AsSpan(2 * Count, Count), 1, Heads, Length, Dim),
            AttentionTensor.FromBhld(qkv.AsSpan(3 * Count), 1, Heads, Length, Dim));
        _pipeline.Run(View(_query), View(_key), View(_value), View(_output));
        Assert.Equal(_output, qkv[(3 * Count)..]);
    }

    [Fact]
    public void Output_rows_that_overlap_are_refused_and_input_rows_may()
    {
        float[] output = new float[Count];
        Assert.Throws<ArgumentException>(() => // by the view itself
        {
            AttentionTensor.FromStrides(output.AsSpan(), 1, Heads, Length, Dim, 0, Length * Dim, Dim - 8);
        });
        Refused("its rows overlap", () => _pipeline.Run(
            View(_query), View(_key), View(_value),
            AttentionTensor.FromStrides(output.AsSpan(), 1, Heads, Length, Dim, 0, 0, Dim)));

        // One key head seen as two, by stride 0.
        _pipeline.Run(
            View(_query), AttentionTensor.FromStrides(_key.AsSpan(), 1, Heads, Length, Dim, 0, 0, Dim),
            AttentionTensor.FromStrides(_value.AsSpan(), 1, Heads, Length, Dim, 0, 0, Dim), View(output, "1,2,6,16"));
        _pipeline.Run(
            View(_query), AttentionTensor.FromBhld(_key.AsSpan(0, Count / 2), 1, 1, Length, Dim),
            AttentionTensor.FromBhld(_value.AsSpan(0, Count / 2), 1, 1, Length, Dim), View(_output));
        Assert.Equal(_output, output);
    }

    [Theory]
    [InlineData(new[] { 7 }, new int[0], "KeyLengths[0] is 7; the key tensor has 6 rows")]
    [InlineData(new[] { -1 }, new int[0], "KeyLengths[0] is -1")]
    [InlineData(new[] { 6, 6 }, new int[0], "KeyLengths has 2 entries for a batch of 1")]
    [InlineData(new int[0], new[] { 7 }, "QueryLengths[0] is 7; the query tensor has 6 rows")]
    [InlineData(new[] { 3 }, new[] { 4 }, "4 queries and 3 keys")]
    public void Lengths_beyond_the_tensors_are_refused(int[] keys, int[] queries, string said) =>
        Refused(said, () => _pipeline.Run(new AttentionArguments<float, float>
        {
            Query = View(_query), Key = View(_key), Value = View(_value), Output = View(_output),
            KeyLengths = keys, QueryLengths = queries,
        }));

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_scale_that_is_not_finite_is_refused(float scale) =>
        Refused("it must be finite", () => _pipeline.Run(new AttentionArguments<float, float>
        {
            Query = View(_query), Key = View(_key), Value = View(_value), Output = View(_output), Scale = scale,
        }));

    [Fact]
    public void Element_types_that_attention_does_not_take_are_refused()
    {
        var doubles = new double[Dim];
        Refused("Double", () => _pipeline.Run(Row(doubles), Row(doubles), Row(doubles), Row(new double[Dim])));
        var floats = new float[Dim];
        Refused("The output of float inputs is float; it got BFloat16",
            () => _pipeline.Run(Row(floats), Row(floats), Row(floats), Row(new BFloat16[Dim])));
        var halves = new Half[Dim];
        Refused("The output of Half inputs is Half or float; it got double",
            () => _pipeline.Run(Row(halves), Row(halves), Row(halves), Row(new double[Dim])));
    }

    [Theory]
    [InlineData("0,2,6,16")]
    [InlineData("1,2,0,16")]
    [InlineData("1,0,6,16")]
    public void A_dimension_of_zero_is_a_call_with_nothing_to_do(string shape) =>
        _pipeline.Run(View(_query, shape), View(_key, shape), View(_value, shape), View(_output, shape));

    [Fact]
    public void One_token_attends_to_itself()
    {
        using var sparse = TokenSparsePrefill.Create(_device, new() { Coverage = 1, MinTokens = 0 });
        foreach (IAttentionPipeline pipeline in (IAttentionPipeline[])[_pipeline, sparse])
        {
            pipeline.Run(View(_query, "1,2,1,16"), View(_key, "1,2,1,16"), View(_value, "1,2,1,16"), View(_output, "1,2,1,16"));
            Assert.Equal(_value[..(Heads * Dim)], _output[..(Heads * Dim)]);
            Assert.Equal(Untouched, _output[Heads * Dim]);
        }
    }

    [Fact]
    public void What_was_disposed_says_so()
    {
        var device = AttentionDevice.Cpu(1);
        DenseAttention disposed = DenseAttention.Create(device), orphan = DenseAttention.Create(device);
        disposed.Dispose();
        disposed.Dispose();
        Assert.Contains(nameof(DenseAttention), Refused<ObjectDisposedException>(disposed).ObjectName);
        device.Dispose();
        Assert.Contains(nameof(CpuDevice), Refused<ObjectDisposedException>(orphan).ObjectName);
        Assert.Throws<ObjectDisposedException>(() => DenseAttention.Create(device));
    }

    [Fact]
    public void A_selection_that_nothing_filled_says_so()
    {
        var selection = new TokenSelection();
        _pipeline.Run(new AttentionArguments<float, float>
        {
            Query = View(_query), Key = View(_key), Value = View(_value), Output = View(_output), Selection = selection,
        });
        Assert.Equal(0, selection.LargestCount);
        Assert.Contains("empty", Assert.Throws<InvalidOperationException>(() => selection.KeyCount(0, 0)).Message);
    }

    [Fact]
    public void A_call_inside_a_call_of_the_same_instance_is_refused()
    {
        using var runner = new CpuPipelineRunner(_device, "nested", AttentionMask.Causal, 0, ElementType.Any);
        var nested = new Nested(() => Call(new Nested(() => { })));
        Assert.Contains("is running on this instance already", Assert.Throws<InvalidOperationException>(() => Call(nested)).Message);
        Call(new Nested(() => { })); // and the instance is free again

        void Call(Nested pipeline) => runner.Run(pipeline, new AttentionArguments<float, float>
        {
            Query = View(_query), Key = View(_key), Value = View(_value), Output = View(_output),
        });
    }

    private sealed class Nested(Action execute) : ICpuPipeline
    {
        public void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
            where T : unmanaged
            where TOut : unmanaged => execute();
    }

    private TException Refused<TException>(DenseAttention pipeline) where TException : Exception =>
        Assert.Throws<TException>(() => pipeline.Run(View(_query), View(_key), View(_value), View(_output)));

    private void Run(TensorSpan<float> logSumExp) => _pipeline.Run(new AttentionArguments<float, float>
    {
        Query = View(_query), Key = View(_key), Value = View(_value), Output = View(_output), LogSumExp = logSumExp,
    });

    private void Refused(string said, Action call)
    {
        float[][] before = [[.. _query], [.. _key], [.. _value]];
        Exception error = Assert.ThrowsAny<Exception>(call);
        Assert.True(error is ArgumentException or NotSupportedException, error.ToString());
        Assert.Contains(said, error.Message);
        Assert.Equal(before, [_query, _key, _value]);
        Assert.All(_output, value => Assert.Equal(Untouched, value));
    }

    private static float[] Values(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Count).Select(_ => random.NextSingle() * 2 - 1)];
    }

    private static TensorSpan<float> View(float[] data, string shape = "1,2,6,16")
    {
        int[] sizes = [.. shape.Split(',').Select(int.Parse)];
        return AttentionTensor.FromBhld(data, sizes[0], sizes[1], sizes[2], sizes[3]);
    }

    private static TensorSpan<T> Row<T>(T[] data) => AttentionTensor.FromBhld(data, 1, 1, 1, Dim);
}
