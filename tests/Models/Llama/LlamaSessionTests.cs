using AttnCompose.Cpu;

namespace AttnCompose.Models.Tests;

public sealed class LlamaSessionTests : IDisposable
{
    private readonly CpuDevice _device = AttentionDevice.Cpu(2);

    public void Dispose() => _device.Dispose();

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 1)]
    [InlineData(false, 7)]
    [InlineData(true, 70)]
    public void LogitsAndEveryLayerAgreeWithDouble(bool tied, int length)
    {
        var tiny = new TinyModel(TinyModel.OddSizes with { TiedEmbeddings = tied }, seed: length);
        int[] tokens = Tokens(length, 1);
        using LlamaModel model = tiny.Load(_device);
        using var session = new LlamaSession(model, length);
        using var dense = new NaiveAttention(_device);
        (double[] logits, List<double[][]> stream) = tiny.Reference(tokens);
        int layers = 0;
        session.Prefill(tokens, _ => dense, (layer, input, output) =>
        {
            AssertClose([.. stream[layer].SelectMany(row => row)], input);
            AssertClose([.. stream[layer + 1].SelectMany(row => row)], output);
            layers++;
        });
        Assert.Equal(tiny.Config.Layers, layers);
        AssertClose(logits, session.Logits);
        Assert.Equal(Array.IndexOf(logits, logits.Max()), session.BestToken);
        Assert.Equal(length, session.Length);
    }

    [Fact]
    public void ScalingOfTheRotaryFrequenciesChangesTheAnswer()
    {
        int[] tokens = Tokens(20, 3);
        LlamaConfig scaled = TinyModel.OddSizes with { RopeScaling = new Llama3RopeScaling(8, 1, 4, 32) };
        Assert.NotEqual(Logits(TinyModel.OddSizes, tokens), Logits(scaled, tokens));
        // Where every frequency turns more than the upper limit, nothing is scaled.
        LlamaConfig unscaled = TinyModel.OddSizes with { RopeScaling = new Llama3RopeScaling(8, 1, 4, 1 << 20) };
        Assert.Equal(Logits(TinyModel.OddSizes, tokens), Logits(unscaled, tokens));
    }

    [Fact]
    public void DecodingWithTheCacheEqualsRecomputingEverything()
    {
        var tiny = new TinyModel(TinyModel.OddSizes, 9);
        using LlamaModel model = tiny.Load(_device);
        using var dense = new NaiveAttention(_device);
        using var cached = new LlamaSession(model, 40);
        using var whole = new LlamaSession(model, 40);
        List<int> tokens = [.. Tokens(11, 5)];
        cached.Prefill([.. tokens], _ => dense);
        for (int step = 0; step < 20; step++)
        {
            int next = cached.BestToken;
            tokens.Add(next);
            cached.Decode(next, dense);
            whole.Reset();
            whole.Prefill([.. tokens], _ => dense);
            Assert.Equal(whole.Logits.ToArray(), cached.Logits.ToArray());
        }
    }

    [Theory]
    [InlineData(new[] { 64, 1, 3, 32 })]
    [InlineData(new[] { 1, 99 })]
    [InlineData(new[] { 33, 33, 34 })]
    public void PrefillInChunksEqualsPrefillAtOnce(int[] chunks)
    {
        var tiny = new TinyModel(TinyModel.OddSizes, 2);
        using LlamaModel model = tiny.Load(_device);
        using var dense = new NaiveAttention(_device);
        using var session = new LlamaSession(model, 100);
        int[] tokens = Tokens(100, 7);
        session.Prefill(tokens, _ => dense);
        float[] whole = [.. session.Logits];
        session.Reset();
        int done = 0;
        foreach (int chunk in chunks)
        {
            session.Prefill(tokens.AsSpan(done, chunk), _ => dense);
            done += chunk;
        }
        Assert.Equal(100, done);
        // The same bits: a row's result depends on no other row of the call.
        Assert.Equal(whole, session.Logits.ToArray());
    }

    [Fact]
    public void TheNumberOfWorkersDoesNotMatter()
    {
        using CpuDevice one = AttentionDevice.Cpu(1), five = AttentionDevice.Cpu(5);
        Assert.Equal(Run(one), Run(five));

        static float[] Run(CpuDevice device)
        {
            using LlamaModel model = new TinyModel(TinyModel.OddSizes, 4).Load(device);
            using var session = new LlamaSession(model, 130);
            using var dense = new NaiveAttention(device);
            session.Prefill(Tokens(130, 8), _ => dense);
            return [.. session.Logits];
        }
    }

    [Fact]
    public void EachLayerRunsItsOwnPipelineAndReportsWhatItKept()
    {
        using LlamaModel model = new TinyModel(TinyModel.OddSizes, 4).Load(_device);
        using var session = new LlamaSession(model, 12);
        using var dense = new NaiveAttention(_device);
        using var even = new NaiveAttention(_device, position => position % 2 == 0);
        session.Prefill(Tokens(8, 1), layer => layer == 1 ? even : dense);
        Assert.Equal((2, 1), (dense.Calls, even.Calls));
        Assert.Equal([1, 0.5, 1], session.Reports.Select(report => report.KeptFraction));
        Assert.Equal([false, true, false], session.Reports.Select(report => report.Selected));
        Assert.Equal([6 * 36, 6 * 10, 6 * 36], session.Reports.Select(report => report.KeptPairs));
        Assert.All(session.Reports, report => Assert.Equal(6 * 36, report.AllPairs));
        // A chunk of two queries, positions 8 and 9: the first kept, seeing keys 0, 2, 4, 6, 8.
        session.Prefill(Tokens(2, 1), layer => layer == 1 ? even : dense);
        Assert.Equal((6 * 5, 6 * 19), (session.Reports[1].KeptPairs, session.Reports[1].AllPairs));
    }

    [Fact]
    public void GreedyDecodingStopsAtAnEndTokenAtTheLimitAndAtTheCapacity()
    {
        var tiny = new TinyModel(TinyModel.OddSizes, 6);
        using var dense = new NaiveAttention(_device);
        int[] free = Answer(tiny, 12, 6);
        Assert.Equal(6, free.Length);
        Assert.Equal(free[..2], Answer(tiny, 12, 2));
        Assert.Equal(free[..4], Answer(tiny, 8, 6)); // capacity 8, prompt 5: three more tokens fit, whose last gives a fourth
        int end = free[^1];
        var ending = new TinyModel(tiny.Config with { EndTokens = [end] }, 6);
        Assert.Equal(free[..Array.IndexOf(free, end)], Answer(ending, 12, 6));

        int[] Answer(TinyModel which, int capacity, int most)
        {
            using LlamaModel model = which.Load(_device);
            using var session = new LlamaSession(model, capacity);
            Assert.Throws<InvalidOperationException>(() => session.DecodeGreedily(1, dense));
            session.Prefill(Tokens(5, 2), _ => dense);
            return session.DecodeGreedily(most, dense);
        }
    }

    [Fact]
    public void CallsThatCannotWorkAreRefusedAndChangeNothing()
    {
        using LlamaModel model = new TinyModel(TinyModel.OddSizes, 4).Load(_device);
        using var session = new LlamaSession(model, 6);
        using var dense = new NaiveAttention(_device);
        using var full = new NaiveAttention(_device, mask: AttentionMask.Full);
        session.Prefill([1, 2], _ => dense);
        Assert.Throws<ArgumentException>(() => session.Prefill([], _ => dense));
        Assert.Throws<ArgumentException>(() => session.Prefill([1, 2, 3, 4, 5], _ => dense));
        Assert.Throws<ArgumentException>(() => session.Prefill([37], _ => dense));
        Assert.Throws<ArgumentException>(() => session.Prefill([-1], _ => dense));
        Assert.Contains("not causal", Assert.Throws<ArgumentException>(() => session.Prefill([1], _ => full)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => new LlamaSession(model, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new LlamaSession(model, int.MaxValue));
        Assert.Equal(2, session.Length);
        session.Prefill([3, 4, 5, 6], _ => dense);
        float[] after = [.. session.Logits];
        session.Reset();
        session.Prefill([1, 2, 3, 4, 5, 6], _ => dense);
        Assert.Equal(after, session.Logits.ToArray());
    }

    private static int[] Tokens(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(TinyModel.OddSizes.VocabularySize))];
    }

    private float[] Logits(LlamaConfig config, int[] tokens)
    {
        using LlamaModel model = new TinyModel(config, 1).Load(_device);
        using var session = new LlamaSession(model, tokens.Length);
        using var dense = new NaiveAttention(_device);
        session.Prefill(tokens, _ => dense);
        return [.. session.Logits];
    }

    private static void AssertClose(double[] expected, ReadOnlySpan<float> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = Math.Sqrt(expected.Average(value => value * value));
        for (int i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i], 2e-5 * scale);
    }
}
