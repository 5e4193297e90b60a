using AttnCompose.Samples.App;
using AttnCompose.Testing;

namespace AttnCompose.Samples.Tests;

/// <summary>The contract of a token selector, inherited: here it is said which pipeline, and what its choice should be.</summary>
public sealed class LowestNormTests : DefinedTokenSelectorContract
{
    private const int Count = 128;
    private const int Window = 32;

    protected override PipelineDescriptor Pipeline => LowestNormAttention.Descriptor;

    protected override IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead)
    {
        int length = inputs.Sequence(batch).KeyLength, prefix = Math.Max(0, length - Window);
        return Enumerable.Range(0, prefix)
            .OrderBy(t => inputs.KeyRow(batch, queryHead, t).ToArray().Sum(x => (double)x * x))
            .Take(Math.Max(0, Count - Window))
            .Concat(Enumerable.Range(prefix, length - prefix));
    }
}
