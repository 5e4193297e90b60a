using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>Token scores, budgets and head scopes, from raw score bits to positions, against sorts: equality, no tolerance.</summary>
public sealed class TokenPairTests : IDisposable
{
    private static readonly LayerPosition s_layer = new(3, 8);

    private readonly CpuDevice _one = AttentionDevice.Cpu(1);
    private readonly CpuDevice _three = AttentionDevice.Cpu(3);

    [Theory]
    [MemberData(nameof(SelectTests.Contents), MemberType = typeof(SelectTests))]
    public void AFixedCountIsThatOfASort(string content)
    {
        var random = new Random(SelectTests.Seed(content) + 1);
        for (int round = 0; round < 40; round++)
        {
            int count = random.Next(1, 400);
            Check(
                content, random, new FixedCountAttribute { Count = count },
                (ranked, window) => [.. ranked.Select(row => count - window)]);
        }
    }

    [Theory]
    [MemberData(nameof(SelectTests.Contents), MemberType = typeof(SelectTests))]
    public void EachHeadKeepsTheFewestTokensThatHoldItsShare(string content)
    {
        var random = new Random(SelectTests.Seed(content) + 2);
        for (int round = 0; round < 40; round++)
        {
            double share = random.Next(6) switch { 0 => 0, 1 => 1, 2 => double.Epsilon, 3 => 0.5, _ => random.NextDouble() };
            int minTokens = random.Next(3) == 0 ? random.Next(0, 500) : 0;
            Check(
                content, random, new TopPAttribute { P = share, MinTokens = minTokens },
                (ranked, _) => [.. ranked.Select(row => SelectionOracle.FewestHolding(row, share, minTokens))]);
        }
    }

    [Theory]
    [MemberData(nameof(SelectTests.Contents), MemberType = typeof(SelectTests))]
    public void CoverageCountsByTheMeanOfWhatHeadsRankBy(string content)
    {
        var random = new Random(SelectTests.Seed(content) + 3);
        for (int round = 0; round < 40; round++)
        {
            double coverage = random.NextDouble();
            Check(
                content, random, new CoverageAttribute { Coverage = coverage, MinTokens = round % 4 },
                (ranked, _) =>
                {
                    float[] mean = [.. Enumerable.Range(0, ranked[0].Length).Select(t => Mean([.. ranked.Select(row => row[t])]))];
                    return [.. ranked.Select(_ => SelectionOracle.KeptPrefix(mean, coverage, round % 4))];
                });
        }
    }

    [Theory]
    [InlineData(0, 100, 0)]
    [InlineData(0.001, 1000, 1)]
    [InlineData(0.5, 7, 4)]
    [InlineData(1, 300, 300)]
    public void ARatioIsRoundedUp(double ratio, int tokens, int kept)
    {
        float[] raw = [.. Enumerable.Range(0, tokens - 1).Select(t => (float)t)];
        RankedBudgetAttribute budget = Paired(new FixedRatioAttribute { Ratio = ratio }, new RecentQueriesAttribute { Window = 1, Pool = 1 });
        Assert.Equal(Math.Max(1, kept), Choose(budget, [raw], 1, _one).KeyCount(0, 0));
    }

    [Theory]
    [InlineData(100, 20, 4)]
    [InlineData(4096, 20, 32)]
    [InlineData(7, 3, 2)]
    [InlineData(50, 1, 5)]
    [InlineData(1, 20, 3)]
    public void CountsFallFromTheFirstLayerToTheLastAndTheirMeanIsTheCount(int count, int beta, int layers)
    {
        var budget = new DepthScheduleAttribute { Count = count, Beta = beta };
        int[] counts = [.. Enumerable.Range(0, layers).Select(layer => budget.CountOf(new(layer, layers)))];
        Assert.Equal(counts.OrderDescending(), counts);
        Assert.Equal(Math.Max(1, count / beta), counts[^1]);
        Assert.InRange(counts.Average(), count, count + 1); // each fall is rounded down
        Assert.Equal(count, budget.CountOf(new(0, 1)));
    }

    [Fact]
    public void ADepthScheduleAsksForTheLayer()
    {
        using var pipeline = TokenSparsePyramid.Create(_one);
        float[] data = new float[8 * 16];
        string message = Assert.Throws<ArgumentException>(() => pipeline.Run(
            AttentionTensor.FromBhld(data, 1, 1, 8, 16), AttentionTensor.FromBhld(data, 1, 1, 8, 16),
            AttentionTensor.FromBhld(data, 1, 1, 8, 16), AttentionTensor.FromBhld(new float[8 * 16], 1, 1, 8, 16))).Message;
        Assert.Contains("which layer", message);
    }

    [Theory]
    [InlineData(-1, 4)]
    [InlineData(4, 4)]
    [InlineData(1, 0)]
    [InlineData(0, 70_000)]
    public void ALayerThatCannotBeIsRefused(int index, int count)
    {
        using var pipeline = DenseAttention.Create(_one);
        Assert.Contains("Layer", Assert.Throws<ArgumentException>(() => pipeline.Run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld(new float[16], 1, 1, 1, 16), Key = AttentionTensor.FromBhld(new float[16], 1, 1, 1, 16),
            Value = AttentionTensor.FromBhld(new float[16], 1, 1, 1, 16), Output = AttentionTensor.FromBhld(new float[16], 1, 1, 1, 16),
            Layer = new(index, count),
        })).Message);
    }

    [Fact]
    public void HeadsThatRankTogetherKeepTheSameTokens()
    {
        var random = new Random(21);
        float[][] raw = [.. Enumerable.Range(0, 6).Select(head => SelectTests.Scores("random", random, 300, head))];
        foreach (HeadScope scope in Enum.GetValues<HeadScope>())
        {
            RankedBudgetAttribute budget = Paired(new TopPAttribute { P = 0.5 }, new RecentQueriesAttribute { Window = 4, Pool = 3, Heads = scope });
            TokenSelection selection = Choose(budget, raw, group: 3, _three);
            int[][] positions = [.. Enumerable.Range(0, 6).Select(head => selection.Positions(0, head).ToArray())];
            int different = positions.Select(p => string.Join(',', p)).Distinct().Count();
            Assert.Equal(scope switch { HeadScope.QueryHead => 6, HeadScope.Layer => 1, _ => 2 }, different);
        }
    }

    [Theory]
    [InlineData("random")]
    [InlineData("some NaN")]
    [InlineData("all equal")]
    [InlineData("all zero")]
    [InlineData("some infinite")]
    public void ALaterPairChoosesAmongTheTokensOfTheFirst(string content)
    {
        var random = new Random(SelectTests.Seed(content) + 7);
        for (int round = 0; round < 60; round++)
        {
            int heads = 2 * random.Next(1, 4), prefix = random.Next(1, 400), window = random.Next(1, 9);
            float[][] coarse = [.. Enumerable.Range(0, heads).Select(head => SelectTests.Scores("random", random, prefix, head))];
            float[][] fine = [.. Enumerable.Range(0, heads).Select(head => SelectTests.Scores(content, random, prefix, head))];
            var scope = (HeadScope)random.Next(5);
            int count = random.Next(1, prefix + window);
            double share = random.NextDouble();
            RankedBudgetAttribute first = Paired(new FixedCountAttribute { Count = count }, new RecentQueriesAttribute { Window = window, Pool = 1 });
            var score = new RecentQueriesAttribute { Window = window, Pool = 1, Heads = scope };
            RankedBudgetAttribute second = round % 2 == 0 ? new TopPAttribute { P = share } : new FixedCountAttribute { Count = count / 2 + 1 };
            second.Of(score, earlier: first);

            CpuDevice device = round % 3 == 0 ? _three : _one;
            TokenSelection selection = Choose(first, coarse, group: 2, device);
            int[][] before = [.. Enumerable.Range(0, heads).Select(head => selection.Positions(0, head).ToArray())];
            Choose(second, fine, group: 2, device, selection);

            float[][] ranked = SelectionOracle.Join([.. fine.Select(row => SelectionOracle.Pool(row, 1, toBFloat16: false))], 2, scope);
            for (int head = 0; head < heads; head++)
            {
                int[] candidates = [.. before[head].Where(t => t < prefix)];
                float[] scores = [.. Enumerable.Range(0, prefix).Select(t =>
                    !candidates.Contains(t) ? float.NegativeInfinity : float.IsNaN(ranked[head][t]) ? float.MinValue : ranked[head][t])];
                int wanted = round % 2 == 0 ? SelectionOracle.FewestHolding(scores, share, 0) : count / 2 + 1 - window;
                int kept = Math.Clamp(wanted, 0, candidates.Length);
                int[] expected = [.. SelectionOracle.Highest(scores, kept), .. Enumerable.Range(prefix, window)];
                Assert.Equal(expected, selection.Positions(0, head).ToArray());
                Assert.Subset(before[head].ToHashSet(), expected.ToHashSet());
            }
        }
    }

    [Fact]
    public void AWindowLongerThanWhatTheFirstChoiceAlwaysKeepsIsRefused()
    {
        var first = new TokenCoverageAttribute { Window = 64 };
        var score = new RecentQueriesAttribute { Window = 65, Pool = 1 };
        Assert.Contains("64 last tokens", Assert.Throws<ArgumentException>(() => new TopPAttribute().Of(score, first)).Message);
        score.Window = 64;
        Assert.True(new TopPAttribute().Of(score, first).Prunes);
    }

    [Fact]
    public void RandomScoresAreAFunctionOfSeedLayerHeadAndPosition()
    {
        double[] all = [.. Enumerable.Range(0, 20_000).Select(t => SelectionOracle.RandomScore(7, 1, 2, t))];
        Assert.InRange(all.Average(), 0.49, 0.51);
        Assert.All(all, score => Assert.InRange(score, 1e-9, 1));
        (int, int, int)[] others = [(8, 1, 2), (7, 2, 2), (7, 1, 3)];
        Assert.All(others, o => Assert.NotEqual(all[5], SelectionOracle.RandomScore(o.Item1, o.Item2, o.Item3, 5)));

        // Through the pipeline: each batch neighbour alike, and the layer matters.
        float[] data = new float[2 * 2 * 300 * 16];
        Array.Fill(data, 0.5f);
        using var pipeline = TokenSparseRandom.Create(_three, new() { Ratio = 0.6, Seed = 7 });
        TokenSelection low = Run(new LayerPosition(1, 4)), high = Run(new LayerPosition(2, 4));
        int[] expected = SelectionOracle.Highest([.. Enumerable.Range(0, 172).Select(t => (float)SelectionOracle.RandomScore(7, 1, 1, t))], 52);
        Assert.Equal(expected, low.Positions(0, 1)[..52].ToArray());
        Assert.Equal(low.Positions(0, 1).ToArray(), low.Positions(1, 1).ToArray());
        Assert.NotEqual(low.Positions(0, 1).ToArray(), high.Positions(0, 1).ToArray());

        TokenSelection Run(LayerPosition layer)
        {
            var selection = new TokenSelection();
            pipeline.Run(new AttentionArguments<float, float>
            {
                Query = AttentionTensor.FromBhld(data, 2, 2, 300, 16), Key = AttentionTensor.FromBhld(data, 2, 2, 300, 16),
                Value = AttentionTensor.FromBhld(data, 2, 2, 300, 16),
                Output = AttentionTensor.FromBhld(new float[data.Length], 2, 2, 300, 16), Selection = selection, Layer = layer,
            });
            return selection;
        }
    }

    [Fact]
    public void ThePairOfThePaperIsTokenCoverage()
    {
        var random = new Random(31);
        float[][] raw = [.. Enumerable.Range(0, 4).Select(head => SelectTests.Scores("few exponents", random, 900, head))];
        var whole = new TokenCoverageAttribute { Coverage = 0.3, MinTokens = 10, Window = 16, Pool = 7 };
        RankedBudgetAttribute pair = Paired(
            new CoverageAttribute { Coverage = 0.3, MinTokens = 10 }, new RecentQueriesAttribute { Window = 16, Pool = 7 });
        TokenSelection expected = SelectTests.Select(whole, raw, 0, _one), actual = Choose(pair, raw, 2, _one);
        for (int head = 0; head < 4; head++)
            Assert.Equal(expected.Positions(0, head).ToArray(), actual.Positions(0, head).ToArray());
    }

    [Theory]
    [InlineData("Count")]
    [InlineData("Ratio")]
    [InlineData("P")]
    [InlineData("Beta")]
    [InlineData("Coverage")]
    [InlineData("Pool")]
    [InlineData("Window")]
    public void ParametersOutOfRangeAreNamed(string name)
    {
        var score = new RecentQueriesAttribute { Window = name == "Window" ? 0 : 4, Pool = name == "Pool" ? 2 : 7 };
        RankedBudgetAttribute budget = name switch
        {
            "Ratio" => new FixedRatioAttribute { Ratio = double.NaN },
            "P" => new TopPAttribute { P = 1.5 },
            "Beta" => new DepthScheduleAttribute { Count = 8, Beta = 0 },
            "Coverage" => new CoverageAttribute { Coverage = -0.5 },
            _ => new FixedCountAttribute { Count = name == "Count" ? 0 : 1 },
        };
        Assert.Contains(name, Assert.Throws<ArgumentException>(() => Choose(Paired(budget, score), [new float[8]], 1, _one)).Message);
    }

    [Fact]
    public void ABudgetWithoutAScoreSaysSo() =>
        Assert.Contains("score", Assert.Throws<InvalidOperationException>(() => new TopPAttribute().ScoreLength(default)).Message);

    public void Dispose()
    {
        _one.Dispose();
        _three.Dispose();
    }

    private void Check(string content, Random random, RankedBudgetAttribute budget, Func<float[][], int, int[]> keptOf)
    {
        int group = random.Next(1, 5), heads = group * random.Next(1, 3), prefix = random.Next(1, 400);
        float[][] raw = [.. Enumerable.Range(0, heads).Select(head => SelectTests.Scores(content, random, prefix, head))];
        var score = new RecentQueriesAttribute
        {
            Window = random.Next(1, 9), Pool = 2 * random.Next(0, 5) + 1, Heads = (HeadScope)random.Next(5),
            RoundScoresToBFloat16 = random.Next(4) == 0,
        };
        TokenSelection selection = Choose(Paired(budget, score), raw, group, random.Next(2) == 0 ? _one : _three);
        float[][] ranked = SelectionOracle.Join(
            [.. raw.Select(row => SelectionOracle.Pool(row, score.Pool, score.RoundScoresToBFloat16))], group, score.Heads);
        int[] kept = keptOf(ranked, score.Window);
        for (int head = 0; head < heads; head++)
        {
            int[] highest = SelectionOracle.Highest(ranked[head], Math.Clamp(kept[head], 0, prefix));
            Assert.Equal([.. highest, .. Enumerable.Range(prefix, score.Window)], selection.Positions(0, head).ToArray());
        }
    }

    private static RankedBudgetAttribute Paired(RankedBudgetAttribute budget, TokenScoreAttribute score)
    {
        budget.Of(score);
        return budget;
    }

    private static TokenSelection Choose(
        RankedBudgetAttribute budget, float[][] raw, int group, CpuDevice device, TokenSelection? selection = null)
    {
        using var cpu = new CpuExecution(device);
        int keys = raw[0].Length + budget.Score.Window;
        if (selection is null)
        {
            selection = new TokenSelection();
            selection.Reset(1, raw.Length, keys);
        }
        var shape = new ProblemShape(1, raw.Length, raw.Length / group, keys, keys, 64) { Layer = s_layer };
        budget.Choose([.. raw.SelectMany(scores => scores)], in shape, 0, new SequenceShape(keys, keys), cpu, selection);
        return selection;
    }

    private static float Mean(float[] scores)
    {
        float sum = 0;
        foreach (float score in scores)
            sum += score;
        float mean = sum / scores.Length;
        return float.IsSubnormal(mean) || mean == 0 ? 0 : mean;
    }
}
