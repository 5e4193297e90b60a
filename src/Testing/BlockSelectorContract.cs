using Xunit;

namespace AttnCompose.Testing;

/// <summary>
/// What every block selector promises, as tests. Derive a class in your test project and say which pipeline has your selector: the
/// selector and [BlockSparseAttention], and, to see it work on compressed rows, a second class with a token selector before it.
/// Choose parameters under which it leaves some of 9 x 9 blocks out. Where its choice can be stated in a few lines, derive from
/// <see cref="DefinedBlockSelectorContract"/> instead.
/// </summary>
/// <remarks>
/// <b>Form.</b> A query block visits only blocks that have a key of the sequence and, under the causal mask, one that its last query may
/// see; no bit behind them is set. Blocks are partial where the pipeline has rules, and only there. Columns ascend among the keys.
/// Every query that may see a key sees one.
/// </remarks>
/// <example>
/// <code>
/// public sealed class MySelectorTests : BlockSelectorContract
/// {
///     protected override PipelineDescriptor Pipeline => MyPipeline.Descriptor;
/// }
/// </code>
/// </example>
public abstract class BlockSelectorContract : StageContract
{
    /// <summary>Queries of a block.</summary>
    protected int BlockQuery => KernelSize(nameof(BlockAttentionKernelAttribute.BlockQuery));

    /// <summary>Keys of a block.</summary>
    protected int BlockKey => KernelSize(nameof(BlockAttentionKernelAttribute.BlockKey));

    /// <summary>A dense head visits every block that the mask leaves and has nothing beside; the others choose as ever.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Dense_heads_visit_every_block(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        StageCase inputs = Case(name);
        int dense = inputs.Shape.QueryHeads - 1;
        StageRun run = RunOn<float>(device, inputs, new HeadSet(dense)), sparse = RunOn<float>(device, inputs);
        run.IsDense(Pipeline.Plan.Mask, dense);
        for (int head = 0; head < dense; head++)
            run.HasHeadOf(sparse, head);
    }

    /// <summary>Keys and queries that are no numbers leave a choice of the form of one: what follows relies on it.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Without_numbers_the_choice_has_the_form_of_one(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        HasForm(RunOn<float>(device, Case(name).Filled(float.NaN)));
    }

    private protected override void HasForm(StageRun run) =>
        run.HasBlockForm(Pipeline.Plan.Mask, Pipeline.Plan.Rules.Any(rule => rule.Kind is RuleForm.Mask or RuleForm.Score));

    private protected override void LeavesSomethingOut(StageRun run) => run.LeavesBlocksOut(Pipeline.Plan.Mask);

    private int KernelSize(string name) => (int)Pipeline.Plan.Stages
        .Single(stage => stage.Kind == StageKind.AttentionKernel).Parameters.Single(parameter => parameter.Name == name).Value;
}
