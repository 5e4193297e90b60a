using AttnCompose.Testing;

namespace AttnCompose.Pipelines.Tests;

/// <summary>The built-in token selectors hold to the contract that authors of stages inherit.</summary>
public sealed class TokenCoverageContractTests : TokenSelectorContract
{
    protected override PipelineDescriptor Pipeline => TokenSparsePrefill.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("Coverage", "0.3"), new("MinTokens", "0")];

    protected override bool ChoosesAlikeEverywhere => false; // scores are matrix products
}

/// <summary>The same of a given number of tokens.</summary>
public sealed class FixedCountContractTests : TokenSelectorContract
{
    protected override PipelineDescriptor Pipeline => TokenSparseFixed.Descriptor;

    protected override IReadOnlyList<KeyValuePair<string, string>> Settings => [new("Count", "160")];

    protected override bool ChoosesAlikeEverywhere => false;
}
