using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Binds each fusion point of the attention loop: to the stage that hooks in there, or to the loop's default.</summary>
internal static class BindHooks
{
    private static readonly ArgumentNode s_maps =
        new(ArgumentKind.TensorMaps, "maps", "tensor_maps", "attn::TensorMaps", Stage: -1, IsWritten: false);

    public static FusionPlan Run(FusionPlan plan)
    {
        FusionPoint offers = plan.Graph.Kernel.Device.Offers;
        var hooks = new List<HookNode>();
        // Rows that are all there lie in a regular pattern, so the copy engine of a chip that has one can bring whole tiles.
        Bind(FusionPoint.RowSource, plan.Graph.Compress, "RowSource", "every row of the sequence", s_maps);
        Bind(FusionPoint.Score, null, "Score", ScoresOf(plan.Graph.Rules), [.. ArgumentsOf(plan.Graph.Rules)]);
        Bind(FusionPoint.RowDestination, plan.Graph.Decompress, "RowDestination", "rows go back where they came from");
        if (plan.Graph.BlockSelector is { } selector)
        {
            int stage = plan.Graph.Nodes.ToList().IndexOf(selector);
            string summary = selector.Device.Hook?.Summary ?? $"key blocks that {selector.Stage.Name} chose";
            hooks.Add(new HookNode(FusionPoint.BlockList, stage, "Blocks", summary, Arguments.Of(plan, stage, ["block_list"], [], [])));
        }
        return plan with { Hooks = hooks.ToEquatableArray(), GatheredHooks = Gathered(plan, hooks) };

        void Bind(FusionPoint point, StageNode? node, string alias, string otherwise, params ArgumentNode[] given)
        {
            if ((offers & point) == 0)
                return;
            if (node is null)
            {
                hooks.Add(new HookNode(point, -1, alias, otherwise, given.ToEquatableArray()));
                return;
            }
            int stage = plan.Graph.Nodes.ToList().IndexOf(node);
            HookSpec hook = node.Device.Hook!;
            hooks.Add(new HookNode(point, stage, node.Role, hook.Summary, Arguments.Of(plan, stage, hook.Reads, [], hook.Parameters)));
        }
    }

    private static string Word(RuleSpec rule) => rule.Kind == RuleForm.Mask ? "mask" : "sink";

    private static string ScoresOf(RuleNodes rules) => rules.Any
        ? string.Join(", then ", rules.Spec.Rules.OrderBy(r => r.Kind).Select(r => r.Kind == RuleForm.Score ? r.Method.CSharpName : $"{Word(r)} {r.Method.CSharpName}"))
        : "scores as they are";

    private static IEnumerable<ArgumentNode> ArgumentsOf(RuleNodes rules) => rules.Scalars
        .Select(s => new ArgumentNode(
            ArgumentKind.RuleScalar, s.Option.Argument, s.Option.Argument, s.Option.Parameter.Type, Stage: -1, IsWritten: false))
        .Concat(rules.Spans.Select(ArgumentOf))
        .Concat(rules.Ranges.Bounded.Take(1)
            .Select(_ => new ArgumentNode(
                ArgumentKind.RuleBounds, "bounds", RuleNodes.Bounds, "attn::rules::SpanBounds", Stage: -1, IsWritten: false)));

    /// <summary>The kernel argument that a span of rules is.</summary>
    public static ArgumentNode ArgumentOf(RuleSpanNode span) => new(
        ArgumentKind.RuleSpan, span.Argument, span.Argument, $"attn::rules::Span<{span.Buffer.Type.Keyword()}>", Stage: -1, IsWritten: false);

    /// <summary>The same hooks, with a row source over what the compress stage gathered.</summary>
    private static EquatableArray<HookNode> Gathered(FusionPlan plan, List<HookNode> hooks)
    {
        if (plan.Graph.Compress?.Device.Gather is not { } gather)
            return [];
        return hooks.Select(hook => hook.Point != FusionPoint.RowSource
            ? hook
            : hook with
            {
                Alias = FusionPlan.Gathered + hook.Alias,
                Summary = gather.Summary,
                Arguments = [.. Arguments.Of(plan, hook.Stage, gather.Reads, [], []), s_maps with { Stage = hook.Stage }],
            }).ToEquatableArray();
    }
}
