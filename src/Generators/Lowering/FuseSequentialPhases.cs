using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>
/// Joins a kernel to the one before it where the same block consumes what it produced, and gives every other boundary its
/// reason. A block owns what its scope says; with a tiled scope it also reads its neighbours' results, so only whole-head
/// and whole-sequence phases can follow each other without the grid in between.
/// </summary>
internal static class FuseSequentialPhases
{
    public static FusionPlan Run(FusionPlan plan)
    {
        var kernels = new List<KernelNode>();
        foreach (KernelNode kernel in plan.Kernels)
        {
            if (kernels.Count == 0)
            {
                kernels.Add(kernel);
                continue;
            }
            KernelNode before = kernels[kernels.Count - 1];
            if (CanJoin(before, kernel))
                kernels[kernels.Count - 1] = before with { Steps = before.Steps.Concat(kernel.Steps).ToEquatableArray() };
            else
                kernels.Add(kernel with { SplitReason = Reason(kernels, kernel) });
        }
        return plan with { Kernels = kernels.ToEquatableArray() };
    }

    private static bool CanJoin(KernelNode before, KernelNode kernel) =>
        // Only the author of a stage knows that its phases have blocks of one size.
        BlockIsWhole(before, kernel) && before.Steps[0].Stage == kernel.Steps[0].Stage && before.Path == kernel.Path;

    private static bool BlockIsWhole(KernelNode before, KernelNode kernel) =>
        before.Scope == kernel.Scope
        && kernel.Scope is PhaseScope.Sequence or PhaseScope.QueryHead
        && !kernel.Steps[0].TakesHooks;

    private static string Reason(List<KernelNode> earlier, KernelNode kernel)
    {
        StepNode step = kernel.Steps[0];
        KernelNode before = earlier[earlier.Count - 1];
        if (BlockIsWhole(before, kernel) && before.Steps[0].Stage != step.Stage)
            return "its stage may have blocks of another size than the stage before it";
        // The nearest producer decides: what was written earlier is complete anyway.
        for (int i = earlier.Count - 1; i >= 0; i--)
        {
            if (earlier[i].Path != KernelPath.Every && earlier[i].Path != kernel.Path)
                continue;
            foreach (StepNode producer in earlier[i].Steps.Reverse())
            {
                if (step.Reads.FirstOrDefault(producer.Writes.Contains) is { } buffer)
                    return $"{step.Phase} reads {buffer} in other blocks than wrote it (there one a {ScopeWords.Of(earlier[i].Scope)})";
            }
        }
        return $"its blocks own another part of the problem (a {ScopeWords.Of(kernel.Scope)}) than those before it";
    }
}
