using Xunit;

namespace AttnCompose.Testing;

/// <summary>The contract of a token selector whose choice can be stated by plain loops, apart from the stage.</summary>
public abstract class DefinedTokenSelectorContract : TokenSelectorContract
{
    /// <summary>The positions that a query head keeps by the definition, in any order.</summary>
    /// <param name="inputs">The tensors; rows beyond a sequence's lengths are no part of it.</param>
    /// <param name="batch">Sequence.</param>
    /// <param name="queryHead">Query head.</param>
    /// <remarks>A sequence without a query counts too: a budget keeps all of its tokens.</remarks>
    protected abstract IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead);

    /// <summary>Each head keeps what the definition says.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void The_choice_is_that_of_the_definition(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        StageCase inputs = Case(name);
        StageRun run = RunOn<float>(device, inputs);
        for (int batch = 0; batch < inputs.Shape.Batch; batch++)
        {
            for (int head = 0; head < inputs.Shape.QueryHeads; head++)
            {
                int[] defined = [.. Choose(inputs, batch, head).Order()], chosen = [.. run.Positions(batch, head)];
                (int queries, int keys) = inputs.Sequence(batch);
                Assert.True(
                    defined.SequenceEqual(chosen),
                    $"sequence {batch} ({queries} queries, {keys} keys), head {head}: the definition keeps {Words(defined)}, the stage {Words(chosen)}");
            }
        }
    }

    private static string Words(int[] positions) =>
        $"{positions.Length} tokens: {string.Join(", ", positions.Take(12))}{(positions.Length > 12 ? ", ..." : "")}";
}
