using AttnCompose.Samples.App;
using AttnCompose.Testing;

namespace AttnCompose.Samples.Tests;

/// <summary>The contract of a token selector, inherited: here it is said which pipeline, and what its choice should be.</summary>
public sealed class LowestNormTests : DefinedTokenSelectorContract
{
    protected override PipelineDescriptor Pipeline => LowestNormAttention.Descriptor;

    protected override IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead) => Shortest.Keys(inputs, batch, queryHead, Shortest.Count);
}

/// <summary>The same choice of a score in C#. Its budget keeps all tokens of a sequence without a query: nothing asks for fewer.</summary>
public sealed class LowestNormInCSharpTests : DefinedTokenSelectorContract
{
    protected override PipelineDescriptor Pipeline => LowestNormInCSharp.Descriptor;

    protected override IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead) =>
        Shortest.Keys(inputs, batch, queryHead, inputs.Sequence(batch).QueryLength == 0 ? int.MaxValue : Shortest.Count);
}

/// <summary>The definition of both, in double.</summary>
internal static class Shortest
{
    public const int Count = 128;
    private const int Window = 32;

    public static IEnumerable<int> Keys(StageCase inputs, int batch, int queryHead, int count)
    {
        int length = inputs.Sequence(batch).KeyLength, prefix = Math.Max(0, length - Window);
        return Enumerable.Range(0, prefix)
            .OrderBy(t => inputs.KeyRow(batch, queryHead, t).ToArray().Sum(x => (double)x * x))
            .Take(Math.Max(0, count - Window))
            .Concat(Enumerable.Range(prefix, length - prefix));
    }
}
