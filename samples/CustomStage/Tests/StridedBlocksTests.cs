using AttnCompose.Samples.App;
using AttnCompose.Testing;

namespace AttnCompose.Samples.Tests;

/// <summary>The contract of a block selector, inherited: which pipeline, and what a query block should visit.</summary>
public sealed class StridedBlocksTests : DefinedBlockSelectorContract
{
    private const int Stride = 3;

    protected override PipelineDescriptor Pipeline => StridedAttention.Descriptor;

    protected override IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead, int queryBlock)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        int[] own = [.. Enumerable.Range(queryBlock * BlockQuery, BlockQuery).Where(row => row < sequence.QueryLength)
            .Select(row => (sequence.FirstQuery + row) / BlockKey).Distinct()];
        return Enumerable.Range(0, own[^1] + 1).Where(block => own.Contains(block) || (own[0] - block) % Stride == 0);
    }
}
