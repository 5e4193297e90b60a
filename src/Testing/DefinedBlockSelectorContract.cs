using Xunit;

namespace AttnCompose.Testing;

/// <summary>
/// The contract of a block selector whose choice can be stated by plain loops, apart from the stage, in a pipeline without a token
/// selector.
/// </summary>
public abstract class DefinedBlockSelectorContract : BlockSelectorContract
{
    /// <summary>The key blocks that a query block visits by the definition, in any order; those that no query may see do not count.</summary>
    /// <param name="inputs">The tensors; rows beyond a sequence's lengths are no part of it.</param>
    /// <param name="batch">Sequence.</param>
    /// <param name="queryHead">Query head.</param>
    /// <param name="queryBlock">
    /// Block of the queries [queryBlock * <see cref="BlockSelectorContract.BlockQuery"/>, ...), which stand at the end of the keys.
    /// </param>
    protected abstract IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead, int queryBlock);

    /// <summary>Each query block visits what the definition says.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void The_choice_is_that_of_the_definition(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        StageCase inputs = Case(name);
        StageRun run = RunOn<float>(device, inputs);
        for (int batch = 0; batch < inputs.Shape.Batch; batch++)
        {
            SequenceShape sequence = inputs.Sequence(batch);
            for (int head = 0; head < inputs.Shape.QueryHeads; head++)
            {
                for (int block = 0; block < run.QueryBlocks(batch, head); block++)
                {
                    int last = sequence.FirstQuery + Math.Min((block + 1) * BlockQuery, sequence.QueryLength) - 1;
                    int end = Pipeline.Plan.Mask == AttentionMask.Causal ? last + 1 : sequence.KeyLength;
                    Assert.Equal(
                        Choose(inputs, batch, head, block).Where(key => key * BlockKey < end).Distinct().Order(),
                        run.KeyBlocks(batch, head, block));
                }
            }
        }
    }
}
