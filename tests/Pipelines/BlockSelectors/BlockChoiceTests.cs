namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>Ranking and coverage against sorting and big integers.</summary>
public sealed class BlockChoiceTests
{
    [Fact]
    public void The_highest_scores_are_kept_and_ties_go_to_the_lower_index()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            float[] scores = Scores(random);
            int wanted = random.Next(0, scores.Length + 3);
            Cut cut = BlockChoice.Highest(scores, wanted);
            Assert.Equal([.. Ranked(scores).Take(wanted).Order()], Kept(scores, cut));
        }
    }

    [Fact]
    public void The_fewest_scores_that_hold_the_share_are_kept()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            float[] scores = Scores(random);
            double share = random.Next(4) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };
            UInt128 total = 0, sum = 0;
            foreach (float score in scores)
                total += Mass(score);
            UInt128 target = ((UInt128)Math.Round(share * Math.Pow(2, 63)) * total + (UInt128.One << 63) - 1) >> 63;
            var expected = new List<int>();
            foreach (int i in Ranked(scores))
            {
                if (sum >= target)
                    break;
                expected.Add(i);
                sum += Mass(scores[i]);
            }
            Assert.Equal([.. expected.Order()], Kept(scores, BlockChoice.Covering(scores, share)));
        }
    }

    private static int[] Kept(float[] scores, Cut cut)
    {
        var words = new ulong[scores.Length / 64 + 1];
        BlockChoice.Mark(scores, cut, words);
        var indices = new int[cut.Kept];
        BlockChoice.Collect(scores, cut, indices);
        Assert.Equal(indices, Enumerable.Range(0, scores.Length).Where(i => (words[i / 64] >> (i % 64) & 1) != 0));
        return indices;
    }

    private static IEnumerable<int> Ranked(float[] scores) => Enumerable.Range(0, scores.Length)
        .OrderByDescending(i => float.IsNaN(scores[i]) ? float.NegativeInfinity : scores[i])
        .ThenByDescending(i => !float.IsNaN(scores[i]));

    private static UInt128 Mass(float score) => score > 0 ? (UInt128)Math.Truncate(Math.Min(score, 1.0) * Math.Pow(2, 39)) : 0;

    // Few distinct values, as after a softmax with equal keys, or all kinds of them.
    private static float[] Scores(Random random)
    {
        bool few = random.Next(2) == 0;
        return [.. Enumerable.Range(0, random.Next(1, 300)).Select(_ => random.Next(12) switch
        {
            0 => 0,
            1 => few ? 0.25f : float.NaN,
            2 => few ? 0.25f : 1e-30f,
            3 => few ? 0.5f : 3,
            _ => few ? random.Next(4) / 64f : (float)Math.Pow(random.NextDouble(), 4),
        })];
    }
}
