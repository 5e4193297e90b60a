using AttnCompose.Testing;

namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>The built-in block selectors hold to the contract that authors of stages inherit; this one has a definition of few lines.</summary>
public sealed class StreamingBlocksContractTests : DefinedBlockSelectorContract
{
    private const int Sink = 40, Local = 200;

    protected override PipelineDescriptor Pipeline => Streaming.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("Sink", $"{Sink}"), new("Local", $"{Local}")];

    protected override IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead, int queryBlock)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        for (int row = queryBlock * BlockQuery; row < Math.Min((queryBlock + 1) * BlockQuery, sequence.QueryLength); row++)
        {
            int own = sequence.FirstQuery + row;
            for (int key = 0; key <= own; key++)
            {
                if (key < Sink || own - key < Local)
                    yield return key / BlockKey;
            }
        }
    }
}

/// <summary>The same where rules decide within the blocks.</summary>
public sealed class RuledBlocksContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => RuledStreaming.Descriptor;

    protected override double Rule(double score, in ScorePosition at) =>
        at.Key % 3 == 1 && at.Key != at.Query ? double.NegativeInfinity : score - 0.01 * (at.Query - at.Key);
}

/// <summary>The same among the rows that a token selector left.</summary>
public sealed class CompressedBlocksContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => TokenSparsePooledTopK.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings =>
        [new("Coverage", "0.05"), new("MinTokens", "0"), new("TopK", "1")];

    protected override bool ChoosesAlikeEverywhere => false; // scores are matrix products
}

/// <summary>Columns and slashes beside the blocks.</summary>
public sealed class VerticalSlashContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => VerticalSlash.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings =>
        [new("VerticalSize", "30"), new("SlashSize", "20"), new("ForcedVertical", "4"), new("ForcedSlash", "16")];

    protected override bool ChoosesAlikeEverywhere => false;
}

/// <summary>Both kinds of heads of FlexPrefill.</summary>
public sealed class FlexPrefillContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => Flexprefill.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("Gamma", "0.5"), new("Tau", "0.3"), new("MinBudget", "0")];

    protected override bool ChoosesAlikeEverywhere => false;
}

/// <summary>Scores along antidiagonals.</summary>
public sealed class AntiDiagonalContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => Antidiagonal.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("Threshold", "0.5")];

    protected override bool ChoosesAlikeEverywhere => false;
}

/// <summary>A number of blocks by their means.</summary>
public sealed class PooledTopKContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => PooledTopK.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("TopK", "2")];

    protected override bool ChoosesAlikeEverywhere => false;
}

/// <summary>A share of the map of means.</summary>
public sealed class PooledCoverageContractTests : BlockSelectorContract
{
    protected override PipelineDescriptor Pipeline => PooledCoverage.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("Tau", "0.5"), new("Theta", "-1")];

    protected override bool ChoosesAlikeEverywhere => false;
}

/// <summary>First and last blocks with rules in them.</summary>
[AttentionPipeline(Mask = AttentionMask.Causal)]
[StreamingBlocks(Sink = 40, Local = 200)]
[BlockSparseAttention(BlockQuery = 64, BlockKey = 64)]
internal sealed partial class RuledStreaming
{
    [MaskModifier]
    private static bool TwoOfThree(in ScorePosition at) => at.Key % 3 != 1 || at.Key == at.Query;

    [ScoreModifier]
    private static float Fall(float score, in ScorePosition at, float slope = 0.01f) => score - slope * (at.Query - at.Key);
}
