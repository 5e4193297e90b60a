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
    public static FusionPlan Run(FusionPlan plan)
    {
        var kernels = new List<KernelNode>();
        for (int stage = 0; stage < plan.Graph.Nodes.Count; stage++)
        {
            StageNode node = plan.Graph.Nodes[stage];
            bool isLoop = node.Stage.Kind == StageKind.AttentionKernel;
            foreach (PhaseSpec phase in node.Device.Phases)
            {
                EquatableArray<ArgumentNode> arguments = Arguments.Of(plan, stage, phase.Reads, phase.Writes, phase.Parameters);
                IEnumerable<string> reads = arguments.Where(a => phase.Reads.Contains(a.Member)).Select(a => a.Name);
                IEnumerable<string> writes = arguments.Where(a => phase.Writes.Contains(a.Member)).Select(a => a.Name);
                if (isLoop)
                {
                    reads = reads.Concat(plan.Hooks.SelectMany(h => h.Arguments)
                        .Where(a => a.Kind is ArgumentKind.Buffer or ArgumentKind.TokenIndex).Select(a => a.Name)).Distinct();
                }
                var step = new StepNode(
                    stage, phase.Name, phase.Summary, reads.ToEquatableArray(), writes.ToEquatableArray(), arguments, isLoop,
                    phase.AppliesRules && !isLoop);
                kernels.Add(new KernelNode(Entry: "", phase.Scope, [step], SplitReason: "", Arguments: []));
            }
        }
        return plan with { Kernels = kernels.ToEquatableArray() };
    }
}
