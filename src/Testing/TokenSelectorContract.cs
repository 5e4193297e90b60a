using Xunit;

namespace AttnCompose.Testing;

/// <summary>
/// What every token selector promises, as tests. Derive a class in your test project and say which pipeline has your selector: the
/// selector, [GatherTokens], an attention kernel and [ScatterTokens]. Choose parameters under which it drops some of 200 tokens.
/// Where its choice can be stated in a few lines, derive from <see cref="DefinedTokenSelectorContract"/> instead.
/// </summary>
/// <remarks>
/// <b>Form.</b> Positions ascend, lie in the sequence, and the first one with a query is known; of a sequence with tokens some are
/// kept.
/// </remarks>
/// <example>
/// <code>
/// public sealed class MySelectorTests : TokenSelectorContract
/// {
///     protected override PipelineDescriptor Pipeline => MyPipeline.Descriptor;
/// }
/// </code>
/// </example>
public abstract class TokenSelectorContract : StageContract
{
    private protected override void HasForm(StageRun run) => run.HasForm();

    private protected override void LeavesSomethingOut(StageRun run) =>
        Assert.InRange(run.Positions(0, 0).Length, 1, Case("long").Shape.KeyLength - 1);
}
