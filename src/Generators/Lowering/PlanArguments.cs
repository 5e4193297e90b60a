using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Names each kernel after what it does and lists its arguments: those of its phases and hooks, each once.</summary>
internal static class PlanArguments
{
    public static FusionPlan Run(FusionPlan plan)
    {
        string prefix = Names.Device(plan.Graph.Name);
        var entries = new NameSet();
        return plan with
        {
            Kernels = plan.Kernels.Select(kernel => kernel with
            {
                Entry = entries.Unique($"{prefix}_{string.Join("_", kernel.Steps.Select(s => EntryOf(kernel, s)))}", "_"),
                Arguments = Union(plan, kernel),
            }).ToEquatableArray(),
        };
    }

    private static string EntryOf(KernelNode kernel, StepNode step) =>
        Names.Device(step.Phase) + (step.TakesHooks && kernel.Path == KernelPath.Gathered ? "_gathered" : "");

    private static EquatableArray<ArgumentNode> Union(FusionPlan plan, KernelNode kernel)
    {
        var arguments = new List<ArgumentNode>();
        foreach (StepNode step in kernel.Steps)
        {
            Add(plan.HooksOf(kernel, step).Where(h => h != plan.Score).SelectMany(h => h.Arguments));
            Add(step.Arguments);
            Add(step.RuleArguments);
        }
        // What rules are given comes last, so that it is not lost among the arguments of stages.
        if (kernel.Steps.Any(step => (step.Given & FusionPoint.Score) != 0))
            Add(plan.Score?.Arguments ?? []);
        return arguments.ToEquatableArray();

        void Add(IEnumerable<ArgumentNode> more)
        {
            foreach (ArgumentNode argument in more)
            {
                int at = arguments.FindIndex(a => a.Name == argument.Name);
                if (at < 0)
                    arguments.Add(argument);
                else
                    arguments[at] = arguments[at] with { IsWritten = arguments[at].IsWritten || argument.IsWritten };
            }
        }
    }
}
