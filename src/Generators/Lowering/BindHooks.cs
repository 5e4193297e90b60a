using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Binds each fusion point of the attention loop: to the stage that hooks in there, or to the loop's default.</summary>
internal static class BindHooks
{
    public static FusionPlan Run(FusionPlan plan)
    {
        FusionPoint offers = plan.Graph.Kernel.Device.Offers;
        var hooks = new List<HookNode>();
        Bind(FusionPoint.RowSource, plan.Graph.Compress, "RowSource", "every row of the sequence");
        Bind(FusionPoint.Score, null, "Score", "scores as they are");
        Bind(FusionPoint.RowDestination, plan.Graph.Decompress, "RowDestination", "rows go back where they came from");
        return plan with { Hooks = hooks.ToEquatableArray() };

        void Bind(FusionPoint point, StageNode? node, string alias, string otherwise)
        {
            if ((offers & point) == 0)
                return;
            if (node is null)
            {
                hooks.Add(new HookNode(point, -1, alias, otherwise, []));
                return;
            }
            int stage = plan.Graph.Nodes.ToList().IndexOf(node);
            Model.HookSpec hook = node.Device.Hook!;
            hooks.Add(new HookNode(point, stage, node.Role, hook.Summary, Arguments.Of(plan, stage, hook.Reads, [], hook.Parameters)));
        }
    }
}
