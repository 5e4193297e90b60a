using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>
/// Makes one kernel of each phase, in the order of the stages. Where a compress stage can gather ahead, there are two ways
/// through the attention loop: the loop alone, and the stage's phases with a loop over what they gathered.
/// </summary>
internal static class ExpandPhases
{
    private const FusionPoint EveryPoint = FusionPoint.RowSource | FusionPoint.Score | FusionPoint.RowDestination | FusionPoint.BlockList;

    public static FusionPlan Run(FusionPlan plan)
    {
        var kernels = new List<KernelNode>();
        var gathering = new List<KernelNode>();
        for (int stage = 0; stage < plan.Graph.Nodes.Count; stage++)
        {
            StageNode node = plan.Graph.Nodes[stage];
            int phases = node.Device.Phases.Count;
            if (node.Stage.Kind == StageKind.AttentionKernel && plan.Graph.Rules.Ranges.Bounded.Count > 0)
                kernels.Add(BoundsOf(plan, stage));
            if (node.Device.Gather is not null)
            {
                gathering.AddRange(KernelsOf(plan, stage, 0, phases, KernelPath.Gathered));
            }
            else if (node.Stage.Kind == StageKind.AttentionKernel && plan.GatheredHooks.Count > 0)
            {
                // What stands before the loop serves both ways through it.
                kernels.AddRange(KernelsOf(plan, stage, 0, phases - 1, KernelPath.Every));
                kernels.AddRange(KernelsOf(plan, stage, phases - 1, phases, KernelPath.InLoop));
                kernels.AddRange(gathering);
                kernels.AddRange(KernelsOf(plan, stage, phases - 1, phases, KernelPath.Gathered));
            }
            else
            {
                kernels.AddRange(KernelsOf(plan, stage, 0, phases, KernelPath.Every));
            }
        }
        return plan with { Kernels = kernels.ToEquatableArray() };
    }

    // The loop judges key tiles by the bounds of the spans that mask rules read there.
    private static KernelNode BoundsOf(FusionPlan plan, int stage)
    {
        string spans = string.Join(", ", plan.Graph.Rules.Ranges.Bounded);
        var step = new StepNode(
            stage, RuleNodes.Bounds, $"bounds of {spans}, by which the loop tells which key tiles the mask rules leave empty", Reads: [],
            Writes: [RuleNodes.Bounds], Arguments: [], TakesHooks: false, FusionPoint.Score, "attn::SpanBoundsPhase<Score>");
        return new KernelNode(Entry: "", PhaseScope.KeyTile, [step], SplitReason: "", Arguments: []);
    }

    private static IEnumerable<KernelNode> KernelsOf(FusionPlan plan, int stage, int first, int end, KernelPath path)
    {
        StageNode node = plan.Graph.Nodes[stage];
        for (int i = first; i < end; i++)
        {
            PhaseSpec phase = node.Device.Phases[i];
            bool isLoop = node.Stage.Kind == StageKind.AttentionKernel && i == node.Device.Phases.Count - 1;
            // The parameters of a rule are the rule's, not the phase's that asks it.
            bool isRule = node.Stage.Rule is not null;
            EquatableArray<ArgumentNode> arguments = Arguments.Of(plan, stage, phase.Reads, phase.Writes, isRule ? [] : phase.Parameters);
            IEnumerable<string> reads = arguments
                .Where(a => a.Kind is not (ArgumentKind.Heads or ArgumentKind.Tensor) && phase.Reads.Contains(a.Member)).Select(a => a.Name);
            IEnumerable<string> writes = arguments.Where(a => phase.Writes.Contains(a.Member)).Select(a => a.Name);
            var kernel = new KernelNode(Entry: "", phase.Scope, [], SplitReason: "", Arguments: []) { Path = path };
            var step = new StepNode(
                stage, phase.Name, phase.Summary, Reads: [], writes.ToEquatableArray(), arguments, isLoop,
                isLoop ? EveryPoint : GivenTo(node.Stage.Kind) | (phase.AppliesRules ? FusionPoint.Score : FusionPoint.None))
            {
                RuleArguments = isRule ? ArgumentsOf(plan, stage, phase) : [],
            };
            reads = reads.Concat(plan.HooksOf(kernel, step).SelectMany(h => h.Arguments).SelectMany(a => ReadThrough(plan, a))).Distinct();
            yield return kernel with { Steps = [step with { Reads = reads.ToEquatableArray() }] };
        }
    }

    private static EquatableArray<ArgumentNode> ArgumentsOf(FusionPlan plan, int stage, PhaseSpec phase) =>
        Arguments.Of(plan, stage, [], [], phase.Parameters)
            .Concat(plan.Graph.Spans
                .Where(span => plan.Graph.Nodes[stage].Stage.Rule!.Spans.Any(s => s.Name == span.Buffer.Name)).Select(BindHooks.ArgumentOf))
            .ToEquatableArray();

    // What stands before the loop of an attention kernel prepares its walk; a block selector looks at the rows that take part.
    private static FusionPoint GivenTo(StageKind kind) => kind switch
    {
        StageKind.AttentionKernel => FusionPoint.RowSource | FusionPoint.BlockList,
        StageKind.BlockSelector => FusionPoint.RowSource | FusionPoint.Score,
        _ => FusionPoint.None,
    };

    /// <summary>Names of the buffers that a hook reads through one of its arguments.</summary>
    private static IEnumerable<string> ReadThrough(FusionPlan plan, ArgumentNode argument) => argument.Kind switch
    {
        ArgumentKind.Buffer or ArgumentKind.TokenIndex or ArgumentKind.BlockList => [argument.Name],
        ArgumentKind.RuleBounds => [argument.Name],
        ArgumentKind.TensorMaps when argument.Stage >= 0 && plan.Graph.Nodes[argument.Stage].Device.Gather is { } gather =>
            plan.Buffers.Where(b => b.Stage == argument.Stage && (b.Local == gather.Key || b.Local == gather.Value)).Select(b => b.Name),
        _ => [],
    };
}
