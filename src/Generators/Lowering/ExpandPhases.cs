using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Makes one kernel of each phase, in the order of the stages.</summary>
internal static class ExpandPhases
{
    private const FusionPoint EveryPoint = FusionPoint.RowSource | FusionPoint.Score | FusionPoint.RowDestination | FusionPoint.BlockList;

    public static FusionPlan Run(FusionPlan plan)
    {
        var kernels = new List<KernelNode>();
        for (int stage = 0; stage < plan.Graph.Nodes.Count; stage++)
        {
            StageNode node = plan.Graph.Nodes[stage];
            foreach (PhaseSpec phase in node.Device.Phases)
            {
                bool isLoop = node.Stage.Kind == StageKind.AttentionKernel && phase == node.Device.Phases.Last();
                FusionPoint given = isLoop ? EveryPoint : GivenTo(node.Stage.Kind);
                EquatableArray<ArgumentNode> arguments = Arguments.Of(plan, stage, phase.Reads, phase.Writes, phase.Parameters);
                IEnumerable<string> reads = arguments.Where(a => phase.Reads.Contains(a.Member)).Select(a => a.Name);
                IEnumerable<string> writes = arguments.Where(a => phase.Writes.Contains(a.Member)).Select(a => a.Name);
                reads = reads.Concat(plan.Hooks.Where(h => (given & h.Point) != 0).SelectMany(h => h.Arguments)
                    .Where(a => a.Kind is ArgumentKind.Buffer or ArgumentKind.TokenIndex or ArgumentKind.BlockList).Select(a => a.Name)).Distinct();
                var step = new StepNode(
                    stage, phase.Name, phase.Summary, reads.ToEquatableArray(), writes.ToEquatableArray(), arguments, isLoop, given);
                kernels.Add(new KernelNode(Entry: "", phase.Scope, [step], SplitReason: "", Arguments: []));
            }
        }
        return plan with { Kernels = kernels.ToEquatableArray() };
    }

    // What stands before the loop of an attention kernel prepares its walk; a block selector looks at the rows that take part.
    private static FusionPoint GivenTo(StageKind kind) => kind switch
    {
        StageKind.AttentionKernel => FusionPoint.RowSource | FusionPoint.BlockList,
        StageKind.BlockSelector => FusionPoint.RowSource | FusionPoint.Score,
        _ => FusionPoint.None,
    };
}
