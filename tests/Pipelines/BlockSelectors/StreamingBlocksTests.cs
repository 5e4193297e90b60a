using AttnCompose.Conformance;

namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>Sinks and local windows against their definition, query by query and key by key.</summary>
public sealed class StreamingBlocksTests
{
    [Fact]
    public void It_visits_the_blocks_of_sinks_and_windows()
    {
        for (int seed = 0; seed < 60; seed++)
        {
            var random = new Random(seed);
            var inputs = new SelectorCase(seed, mostKeys: 500);
            var selector = new StreamingBlocksAttribute { Sink = random.Next(0, 200), Local = random.Next(1, 300) };
            BlockMask chosen = inputs.Choose(selector);
            foreach ((int b, int h, BlockHead head) in inputs.Heads())
                inputs.AssertVisits(BlockSelectionOracle.Streaming(head, selector.Sink, selector.Local), chosen, b, h);
        }
    }

    [Fact]
    public void Sizes_beyond_the_sequence_visit_everything_that_the_mask_leaves()
    {
        var inputs = new SelectorCase(3);
        foreach ((int sink, int local) in ((int, int)[])[(int.MaxValue, 1), (0, int.MaxValue)])
        {
            BlockMask chosen = inputs.Choose(new StreamingBlocksAttribute { Sink = sink, Local = local });
            foreach ((int b, int h, BlockHead head) in inputs.Heads())
                inputs.AssertVisits(head.Where((_, _) => true), chosen, b, h);
        }
    }
}
