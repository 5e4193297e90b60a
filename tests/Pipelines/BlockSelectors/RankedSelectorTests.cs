using AttnCompose.Conformance;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>
/// Block selectors that rank by scores, against their definitions in double, with and without token selections and rules.
/// </summary>
public sealed class RankedSelectorTests
{
    [Fact]
    public void Vertical_slash_visits_the_highest_columns_and_diagonals() => CheckVerticalSlash(cases: 30);

    [Fact]
    public void Flex_prefill_covers_gamma_by_the_pattern_of_each_head()
    {
        int open = 0, pairs = 0, aware = 0, heads = 0;
        for (int seed = 0; seed < 40; seed++)
        {
            var random = new Random(seed);
            var inputs = new SelectorCase(seed, mostKeys: 800);
            var selector = new FlexPrefillAttribute
            {
                Gamma = random.Next(5) switch { 0 => 0, 1 => 1, _ => random.NextDouble() },
                Tau = random.Next(3) switch { 0 => 0, 1 => 1, _ => 0.3 * random.NextDouble() },
                MinBudget = random.Next(0, 200),
            };
            BlockMask chosen = inputs.Choose(selector);
            foreach ((int b, int h, BlockHead head) in inputs.Heads().Where(entry => entry.Rows.Queries > 0 && entry.Rows.Keys > 0))
            {
                heads++;
                if (BlockSelectionOracle.FlexPrefill(head, selector.Gamma, selector.Tau, selector.MinBudget) is not { } band)
                    continue;
                inputs.AssertVisits(band, chosen, b, h);
                (open, pairs, aware) = (open + band.OpenPairs, pairs + band.May.Length, aware + (band.IsQueryAware ? 1 : 0));
            }
        }
        Assert.True(open * 100 < pairs, $"The oracle leaves {open} of {pairs} pairs open.");
        Assert.InRange(aware, heads / 5, 4 * heads / 5);
    }

    [Fact]
    public void Workers_do_not_change_a_choice()
    {
        var inputs = new SelectorCase(11);
        foreach (BlockSelectorAttribute selector in Selectors())
        {
            BlockMask expected = inputs.Choose(selector);
            BlockMask actual = inputs.Choose(selector, workers: 5);
            foreach ((int b, int h, _) in inputs.Heads())
            {
                for (int i = 0; i < expected.QueryBlocks; i++)
                    Assert.Equal(expected.Visit(b, h, i).ToArray(), actual.Visit(b, h, i).ToArray());
                Assert.Equal(expected.Columns(b, h).ToArray(), actual.Columns(b, h).ToArray());
            }
        }
    }

    [Fact]
    public void The_vector_width_leaves_a_choice_within_its_definition()
    {
        KernelWidth.Force(256);
        try
        {
            CheckVerticalSlash(cases: 10);
        }
        finally
        {
            KernelWidth.Force(0);
        }
    }

    [Fact]
    public void A_head_whose_scores_are_not_finite_visits_everything()
    {
        var inputs = new SelectorCase(5);
        inputs.Poison();
        BlockSelectorAttribute[] selectors =
        [
            new FlexPrefillAttribute { Gamma = 0.1, Tau = 0.1, MinBudget = 0 },
            new AntiDiagonalAttribute { Threshold = 0.1, Stride = 16 },
            new PooledTopKAttribute { TopK = 0 },
            new PooledCoverageAttribute { Tau = 0.1, Theta = -1 },
            new GateWeightsAttribute { Count = 1, GateDim = SelectorCase.GateDim },
            new GateWeightsAttribute { Threshold = 1, GateDim = SelectorCase.GateDim },
        ];
        foreach (BlockSelectorAttribute selector in selectors)
        {
            BlockMask chosen = inputs.Choose(selector);
            foreach ((int b, int h, BlockHead head) in inputs.Heads())
                inputs.AssertVisits(head.Where((_, _) => true), chosen, b, h);
        }
    }

    [Fact]
    public void Dense_heads_see_everything_and_the_others_what_they_would_see_anyway()
    {
        foreach (BlockSelectorAttribute selector in Selectors())
        {
            SelectorCase inputs = Enumerable.Range(0, 100)
                .Select(seed => new SelectorCase(seed, mostKeys: 400)).First(i => i.QueryHeads > 2);
            BlockMask alone = inputs.Choose(selector), mixed = inputs.Choose(selector, denseHeads: new HeadSet(1));
            foreach ((int b, int h, BlockHead head) in inputs.Heads())
            {
                if (h == 1)
                {
                    inputs.AssertVisits(head.Where((_, _) => true), mixed, b, h);
                    Assert.True(mixed.Columns(b, h).IsEmpty);
                    continue;
                }
                for (int i = 0; i < mixed.QueryBlocks; i++)
                    Assert.Equal(alone.Visit(b, h, i).ToArray(), mixed.Visit(b, h, i).ToArray());
                Assert.Equal(alone.Columns(b, h).ToArray(), mixed.Columns(b, h).ToArray());
            }
        }
    }

    private static void CheckVerticalSlash(int cases)
    {
        int open = 0, pairs = 0;
        for (int seed = 0; seed < cases; seed++)
        {
            var random = new Random(seed);
            var inputs = new SelectorCase(seed, mostKeys: 600);
            var selector = new VerticalSlashAttribute
            {
                VerticalSize = random.Next(0, 80), SlashSize = random.Next(0, 80), ForcedVertical = random.Next(0, 20),
                ForcedSlash = random.Next(1, 40), LastQueries = random.Next(2) == 0 ? 64 : random.Next(1, 129),
            };
            BlockMask chosen = inputs.Choose(selector);
            foreach ((int b, int h, BlockHead head) in inputs.Heads().Where(entry => entry.Rows.Queries > 0))
            {
                BlockChoiceBand band = BlockSelectionOracle.VerticalSlash(
                    head, selector.LastQueries, selector.VerticalSize, selector.SlashSize, selector.ForcedVertical,
                    selector.ForcedSlash);
                inputs.AssertVisits(band, chosen, b, h);
                int[] columns = chosen.Columns(b, h).ToArray();
                Assert.True(
                    band.ColumnCount == columns.Length && band.Columns!.Holds(columns), $"seed {seed}, sequence {b}, head {h}: columns");
                (open, pairs) = (open + band.OpenPairs, pairs + band.May.Length);
            }
        }
        Assert.True(open * 100 < pairs, $"The oracle leaves {open} of {pairs} pairs open.");
    }

    private static BlockSelectorAttribute[] Selectors() =>
    [
        new StreamingBlocksAttribute { Sink = 10, Local = 20 },
        new VerticalSlashAttribute { VerticalSize = 9, SlashSize = 9, ForcedVertical = 2, ForcedSlash = 3, LastQueries = 64 },
        new FlexPrefillAttribute { Gamma = 0.5, Tau = 0.2, MinBudget = 0 },
        new AntiDiagonalAttribute { Threshold = 0.5, Stride = 16 },
        new PooledTopKAttribute { TopK = 1 },
        new PooledCoverageAttribute { Tau = 0.5, Theta = 0.05 },
        new GateWeightsAttribute { Count = 1, GateDim = SelectorCase.GateDim },
        new GateWeightsAttribute { Threshold = 0.2, GateDim = SelectorCase.GateDim },
    ];
}
