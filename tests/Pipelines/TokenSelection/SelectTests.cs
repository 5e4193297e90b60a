using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>The pure part of the selection, from raw score bits to positions, against a sort: equality, no tolerance.</summary>
public sealed class SelectTests : IDisposable
{
    private readonly CpuDevice _one = AttentionDevice.Cpu(1);
    private readonly CpuDevice _three = AttentionDevice.Cpu(3);

    public static TheoryData<string> Contents =>
    [
        "random", "few exponents", "all equal", "half equal", "subnormal", "some NaN", "one NaN in one head", "some infinite",
        "negative infinite", "all zero", "negative zero", "huge spread", "negative", "mixed sign", "all negative", "two values",
        "one token", "cancels to subnormal", "steps of one ulp", "largest finite", "random bits",
    ];

    [Theory]
    [MemberData(nameof(Contents))]
    public void PositionsAreThoseOfASort(string content)
    {
        var random = new Random(Seed(content));
        for (int round = 0; round < 120; round++)
        {
            int heads = random.Next(1, 9);
            int prefix = round % 8 == 0 ? random.Next(2000, 5000) : random.Next(1, 400);
            float[][] raw = [.. Enumerable.Range(0, heads).Select(head => Scores(content, random, prefix, head))];
            var selector = new TokenCoverageAttribute
            {
                Coverage = random.Next(8) switch
                {
                    0 => 0,
                    1 => double.Epsilon,
                    2 => 1e-9,
                    3 => 0.5,
                    4 => 1,
                    5 => 1 - Math.ScaleB(1, -53),
                    _ => random.NextDouble(),
                },
                Window = random.Next(1, 9),
                Pool = 2 * random.Next(0, 5) + 1,
                MinTokens = random.Next(4) switch { 0 => random.Next(0, prefix + 2), 1 => prefix - 1, _ => 0 },
                RoundScoresToBFloat16 = random.Next(4) == 0,
            };
            int[][] expected = SelectionOracle.Select(
                raw, selector.Coverage, selector.Window, selector.Pool, selector.MinTokens, selector.RoundScoresToBFloat16);
            foreach (CpuDevice device in (CpuDevice[])[_one, _three])
            {
                TokenSelection selection = Select(selector, raw, firstQuery: 0, device);
                for (int head = 0; head < heads; head++)
                {
                    Assert.True(
                        selection.Positions(0, head).SequenceEqual(expected[head]),
                        $"{content}, round {round}, head {head} of {heads}, prefix {prefix}, coverage {selector.Coverage:R}, " +
                        $"window {selector.Window}, pool {selector.Pool}, min {selector.MinTokens}, " +
                        $"kept {selection.KeyCount(0, head)}, expected {expected[head].Length}");
                }
            }
        }
    }

    [Theory]
    [InlineData(0.0, 8)] // nothing is dropped
    [InlineData(0.1, 8)] // the first token alone passes the target: the count is 0, and 0 drops nothing
    [InlineData(0.125, 8)] // it reaches the target exactly, so it is not below
    [InlineData(0.126, 6)] // one token lies below, and one more goes
    [InlineData(0.25, 6)]
    [InlineData(0.5, 4)]
    [InlineData(1.0, 0)] // everything but the window
    public void EqualMassesDropOneMoreThanFits(double coverage, int kept)
    {
        var selector = new TokenCoverageAttribute { Coverage = coverage, Window = 2, Pool = 1 };
        float[] raw = new float[8];
        Array.Fill(raw, 0.1f);
        TokenSelection selection = Select(selector, [raw], firstQuery: 0, _one);
        Assert.Equal([.. Enumerable.Range(0, kept), 8, 9], selection.Positions(0, 0).ToArray());
    }

    [Fact]
    public void MinTokensCountsWithoutTheWindow()
    {
        float[] raw = [.. Enumerable.Range(0, 100).Select(t => t * 1e-3f)];
        foreach ((int minTokens, int kept) in ((int, int)[])[(0, 0), (7, 7), (99, 99), (100, 100), (1000, 100)])
        {
            var selector = new TokenCoverageAttribute { Coverage = 1, Window = 3, Pool = 1, MinTokens = minTokens };
            Assert.Equal(kept + 3, Select(selector, [raw], firstQuery: 0, _one).KeyCount(0, 0));
        }
    }

    [Fact]
    public void ANaNOfOneHeadKeepsAllAndTiesGoToTheLowerPosition()
    {
        var selector = new TokenCoverageAttribute { Coverage = 0.9, Window = 1, Pool = 1 };
        Assert.Equal(6, Select(selector, [[1, 2, float.NaN, 2, 1], [1, 1, 1, 1, 1]], firstQuery: 0, _one).KeyCount(0, 0));
        // With equal masses and half of them dropped, the lower half stays.
        selector = new TokenCoverageAttribute { Coverage = 0.3, Window = 1, Pool = 1 };
        Assert.Equal([0, 1, 2, 5], Select(selector, [[1, 1, 1, 1, 1]], firstQuery: 0, _one).Positions(0, 0).ToArray());
    }

    [Fact]
    public void QueryRowsBeginAtTheFirstKeptPositionThatHasAQuery()
    {
        var random = new Random(5);
        float[][] raw = [Scores("random", random, 300, 0), Scores("random", random, 300, 1)];
        foreach (int firstQuery in (int[])[0, 1, 150, 299, 300, 307, 310])
        {
            var selector = new TokenCoverageAttribute { Coverage = 0.4, Window = 10, Pool = 7 };
            TokenSelection selection = Select(selector, raw, firstQuery, _three);
            for (int head = 0; head < 2; head++)
                Assert.Equal(selection.Positions(0, head).ToArray().Count(p => p < firstQuery), selection.QueryBegin(0, head));
        }
    }

    [Fact]
    public void MoreCoverageKeepsASubset()
    {
        var random = new Random(11);
        float[][] raw = [.. Enumerable.Range(0, 4).Select(head => Scores("few exponents", random, 700, head))];
        HashSet<int>?[] before = new HashSet<int>?[4];
        foreach (double coverage in (double[])[0, 0.01, 0.1, 0.3, 0.6, 0.9, 1])
        {
            var selector = new TokenCoverageAttribute { Coverage = coverage, Window = 8, Pool = 7 };
            TokenSelection selection = Select(selector, raw, firstQuery: 0, _three);
            for (int head = 0; head < 4; head++)
            {
                HashSet<int> now = [.. selection.Positions(0, head)];
                Assert.True(before[head] is null || now.IsSubsetOf(before[head]!));
                before[head] = now;
            }
        }
    }

    [Fact]
    public void PermutingHeadsPermutesTheChoice()
    {
        // Two heads: their sum is the same in either order, so the budget is the same to the bit.
        var random = new Random(12);
        float[] first = Scores("random", random, 500, 0), second = Scores("random", random, 500, 1);
        var selector = new TokenCoverageAttribute { Coverage = 0.4, Window = 8, Pool = 7 };
        TokenSelection straight = Select(selector, [first, second], 0, _one);
        TokenSelection swapped = Select(selector, [second, first], 0, _one);
        Assert.Equal(straight.Positions(0, 0).ToArray(), swapped.Positions(0, 1).ToArray());
        Assert.Equal(straight.Positions(0, 1).ToArray(), swapped.Positions(0, 0).ToArray());
    }

    [Fact]
    public void ScalingAllScoresByAPowerOfTwoChangesNothing()
    {
        var random = new Random(13);
        float[] raw = Scores("few exponents", random, 900, 0);
        var selector = new TokenCoverageAttribute { Coverage = 0.2, Window = 8, Pool = 3 };
        int[] expected = Select(selector, [raw], 0, _one).Positions(0, 0).ToArray();
        foreach (int power in (int[])[-60, -1, 1, 40])
        {
            float[] scaled = [.. raw.Select(score => MathF.ScaleB(score, power))];
            Assert.Equal(expected, Select(selector, [scaled], 0, _one).Positions(0, 0).ToArray());
        }
    }

    [Theory]
    [InlineData("Coverage", 1.5, 4, 7, 0)]
    [InlineData("Coverage", double.NaN, 4, 7, 0)]
    [InlineData("Window", 0.1, 0, 7, 0)]
    [InlineData("Pool", 0.1, 4, 6, 0)]
    [InlineData("MinTokens", 0.1, 4, 7, -1)]
    public void ParametersOutOfRangeAreNamed(string name, double coverage, int window, int pool, int minTokens)
    {
        var selector = new TokenCoverageAttribute { Coverage = coverage, Window = window, Pool = pool, MinTokens = minTokens };
        Assert.Contains(name, Assert.Throws<ArgumentException>(() => Select(selector, [new float[8]], 0, _one)).Message);
        Assert.Throws<ArgumentException>(
            () => selector.DescribeWorkspace(new ProblemShape(1, 1, 1, 8, 8, 64), new WorkspaceLayout()));
    }

    [Fact]
    public void AMassThatCouldPass64BitsIsRefused()
    {
        var selector = new TokenCoverageAttribute { Coverage = 0.1, Window = 1, Pool = 1 };
        Assert.Throws<NotSupportedException>(() => Select(selector, [new float[(1 << 24) + 1]], 0, _one));
    }

    public void Dispose()
    {
        _one.Dispose();
        _three.Dispose();
    }

    internal static TokenSelection Select(RecentQueriesSelectorAttribute selector, float[][] raw, int firstQuery, CpuDevice device)
    {
        using var cpu = new CpuExecution(device);
        var selection = new TokenSelection();
        selection.Reset(1, raw.Length, raw[0].Length + selector.Window);
        selector.Select([.. raw.SelectMany(scores => scores)], 0, firstQuery, cpu, selection);
        return selection;
    }

    internal static int Seed(string content) => content.Aggregate(17, (seed, letter) => unchecked(seed * 31 + letter));

    internal static float[] Scores(string content, Random random, int count, int head)
    {
        const float Tiny = 1.17549435e-38f; // the smallest normal number
        var scores = new float[count];
        int special = random.Next(count);
        for (int t = 0; t < count; t++)
        {
            float uniform = random.NextSingle();
            scores[t] = content switch
            {
                "few exponents" => 1e-4f * (1 + uniform),
                "all equal" => 0.25f,
                "half equal" => t % 2 == 0 ? 0.125f : uniform,
                "subnormal" => random.Next(3) == 0 ? Tiny * (1 + uniform) : Tiny * uniform,
                "some NaN" => random.Next(50) > 0 ? uniform : BitConverter.Int32BitsToSingle(random.Next(2) - 1 | 0x7FC00001),
                "one NaN in one head" => head == 0 && t == special ? float.NaN : uniform,
                "some infinite" => random.Next(100) == 0 ? float.PositiveInfinity : uniform,
                "negative infinite" => random.Next(100) == 0 ? float.NegativeInfinity : uniform,
                "all zero" => 0,
                "negative zero" => random.Next(3) == 0 ? uniform : -0f,
                "huge spread" => MathF.Pow(2, random.Next(-126, 100)) * (1 + uniform),
                "negative" => uniform - 0.3f,
                "mixed sign" => (uniform - 0.5f) * MathF.Pow(10, random.Next(-20, 20)),
                "all negative" => -uniform - Tiny,
                "two values" => random.Next(2) == 0 ? 3e-5f : 7e-5f,
                "one token" => t == special ? 1 : 0,
                "cancels to subnormal" => t % 2 == 0 ? Tiny * (1 + uniform) : -Tiny * (1 + uniform * 0.99f),
                "steps of one ulp" => BitConverter.Int32BitsToSingle(0x38000000 + random.Next(4)),
                "largest finite" => random.Next(4) == 0 ? float.MaxValue : uniform,
                "random bits" => BitConverter.Int32BitsToSingle(random.Next(int.MinValue, 0x7F800000)) is var any
                    && float.IsFinite(any) ? any : 1,
                _ => uniform * uniform,
            };
        }
        return scores;
    }
}
