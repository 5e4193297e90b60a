using AttnCompose.Conformance;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>
/// Block selectors that choose for each query block by itself, against their definitions in double, with and without token
/// selections.
/// </summary>
public sealed class RowSelectorTests
{
    private static readonly double[] s_thetas = [-1, 0, 0.05, 0.2, 0.3, 1];

    [Fact]
    public void Anti_diagonals_cover_their_threshold() => Check(cases: 40, AntiDiagonal);

    [Fact]
    public void Anti_diagonals_do_so_with_the_narrower_vectors_too()
    {
        KernelWidth.Force(256);
        try
        {
            Check(cases: 15, AntiDiagonal);
        }
        finally
        {
            KernelWidth.Force(0);
        }
    }

    [Fact]
    public void Pooled_top_k_visits_the_blocks_that_the_mean_query_likes_best() => Check(cases: 40, random =>
    {
        int topK = random.Next(0, 6);
        return (new PooledTopKAttribute { TopK = topK }, head => BlockSelectionOracle.PooledTopK(head, topK));
    });

    [Fact]
    public void Pooled_coverage_covers_tau_of_the_blocks_that_are_alike() => Check(cases: 60, random =>
    {
        double tau = Share(random), theta = s_thetas[random.Next(s_thetas.Length)];
        return (new PooledCoverageAttribute { Tau = tau, Theta = theta }, head => BlockSelectionOracle.PooledCoverage(head, tau, theta));
    });

    [Fact]
    public void A_gate_visits_the_blocks_that_it_scores_highest() => Check(cases: 40, random =>
    {
        int count = random.Next(1, 6);
        return (new GateWeightsAttribute { Count = count, GateDim = SelectorCase.GateDim },
            head => BlockSelectionOracle.GateWeights(head, count, 0));
    });

    [Fact]
    public void A_gate_visits_the_blocks_that_reach_its_threshold() => Check(cases: 40, random =>
    {
        double threshold = 0.5 * Share(random);
        return (new GateWeightsAttribute { Threshold = threshold, GateDim = SelectorCase.GateDim },
            head => BlockSelectionOracle.GateWeights(head, 0, threshold));
    });

    [Fact]
    public void More_of_the_sum_is_more_blocks()
    {
        SelectorCase[] inputs = [.. Enumerable.Range(0, 8).Select(seed => new SelectorCase(seed, mostKeys: 1500, causal: true))];
        long[] visited = [.. new[] { 0, 0.3, 0.6, 0.9, 1 }
            .Select(share => inputs.Sum(i => Visited(i, new AntiDiagonalAttribute { Threshold = share, Stride = 8 })))];
        Assert.Equal(visited.Order(), visited);
        Assert.True(visited[0] < visited[^1]);
    }

    private static (BlockSelectorAttribute, Func<BlockHead, BlockChoiceBand?>) AntiDiagonal(Random random)
    {
        int stride = 8 * random.Next(1, 3);
        double threshold = Share(random);
        return (new AntiDiagonalAttribute { Stride = stride, Threshold = threshold },
            head => BlockSelectionOracle.AntiDiagonal(head, stride, threshold));
    }

    private static double Share(Random random) => random.Next(6) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };

    private static long Visited(SelectorCase inputs, BlockSelectorAttribute selector)
    {
        BlockMask chosen = inputs.Choose(selector);
        long count = 0;
        foreach ((int b, int h, _) in inputs.Heads())
        {
            for (int i = 0; i < chosen.QueryBlocks; i++)
                count += Enumerable.Range(0, chosen.KeyBlocks).Count(j => chosen.Visits(b, h, i, j));
        }
        return count;
    }

    private static void Check(int cases, Func<Random, (BlockSelectorAttribute, Func<BlockHead, BlockChoiceBand?>)> draw)
    {
        long open = 0, pairs = 0, visited = 0, judged = 0, heads = 0;
        for (int seed = 0; seed < cases; seed++)
        {
            var inputs = new SelectorCase(seed, mostKeys: seed % 4 == 0 ? 4000 : 900);
            (BlockSelectorAttribute selector, Func<BlockHead, BlockChoiceBand?> oracle) = draw(new Random(seed));
            BlockMask chosen = inputs.Choose(selector);
            foreach ((int b, int h, BlockHead head) in inputs.Heads().Where(entry => entry.Rows.Queries > 0 && entry.Rows.Keys > 0))
            {
                heads++;
                if (oracle(head) is not { } band)
                    continue;
                judged++;
                inputs.AssertVisits(band, chosen, b, h);
                (open, pairs) = (open + band.OpenPairs, pairs + band.May.Length);
                visited += band.Must.Cast<bool>().Count(must => must);
            }
        }
        Assert.True(judged * 10 > heads * 9, $"The oracle judges {judged} of {heads} heads.");
        Assert.True(open * 100 < pairs, $"The oracle leaves {open} of {pairs} pairs open.");
        Assert.InRange(visited, pairs / 10, 9 * pairs / 10);
    }
}
