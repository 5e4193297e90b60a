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
    public static FusionPlan Run(FusionPlan plan)
    {
        var kernels = new List<KernelNode>();
        var gathering = new List<KernelNode>();
        for (int stage = 0; stage < plan.Graph.Nodes.Count; stage++)
        {
            StageNode node = plan.Graph.Nodes[stage];
            if (node.Device.Gather is not null)
            {
                gathering.AddRange(KernelsOf(plan, stage, KernelPath.Gathered));
            }
            else if (node.Stage.Kind == StageKind.AttentionKernel && plan.GatheredHooks.Count > 0)
            {
                kernels.AddRange(KernelsOf(plan, stage, KernelPath.InLoop));
                kernels.AddRange(gathering);
                kernels.AddRange(KernelsOf(plan, stage, KernelPath.Gathered));
            }
            else
            {
                kernels.AddRange(KernelsOf(plan, stage, KernelPath.Every));
            }
        }
        return plan with { Kernels = kernels.ToEquatableArray() };
    }

    private static IEnumerable<KernelNode> KernelsOf(FusionPlan plan, int stage, KernelPath path)
    {
        StageNode node = plan.Graph.Nodes[stage];
        bool isLoop = node.Stage.Kind == StageKind.AttentionKernel;
        foreach (PhaseSpec phase in node.Device.Phases)
        {
            EquatableArray<ArgumentNode> arguments = Arguments.Of(plan, stage, phase.Reads, phase.Writes, phase.Parameters);
            IEnumerable<string> reads = arguments
                .Where(a => a.Kind != ArgumentKind.Heads && phase.Reads.Contains(a.Member)).Select(a => a.Name);
            IEnumerable<string> writes = arguments.Where(a => phase.Writes.Contains(a.Member)).Select(a => a.Name);
            var kernel = new KernelNode(Entry: "", phase.Scope, [], SplitReason: "", Arguments: []) { Path = path };
            if (isLoop)
                reads = reads.Concat(plan.HooksOf(kernel).SelectMany(h => h.Arguments).SelectMany(a => ReadThrough(plan, a))).Distinct();
            var step = new StepNode(
                stage, phase.Name, phase.Summary, reads.ToEquatableArray(), writes.ToEquatableArray(), arguments, isLoop,
                phase.AppliesRules && !isLoop);
            yield return kernel with { Steps = [step] };
        }
    }

    /// <summary>Names of the buffers that a hook reads through one of its arguments.</summary>
    private static IEnumerable<string> ReadThrough(FusionPlan plan, ArgumentNode argument) => argument.Kind switch
    {
        ArgumentKind.Buffer or ArgumentKind.TokenIndex => [argument.Name],
        ArgumentKind.TensorMaps when argument.Stage >= 0 && plan.Graph.Nodes[argument.Stage].Device.Gather is { } gather =>
            plan.Buffers.Where(b => b.Stage == argument.Stage && (b.Local == gather.Key || b.Local == gather.Value)).Select(b => b.Name),
        _ => [],
    };
}
