using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Plan;

namespace AttnCompose.Generators.Lowering;

/// <summary>Stage graph to fusion plan: the passes, in the one order in which they run.</summary>
internal static class LoweringPipeline
{
    public static FusionPlan Run(StageGraph graph)
    {
        var plan = new FusionPlan(graph, Kernels: [], Buffers: [], Hooks: []);

        plan = NameBuffers.Run(plan);
        // Invariant: every workspace buffer has a name that no other buffer, option or tensor has.

        plan = BindHooks.Run(plan);
        // Invariant: each fusion point that the loop has is bound, to a stage or to the loop's default.

        plan = ExpandPhases.Run(plan);
        // Invariant: one kernel a phase, in the order of the stages.

        plan = FuseSequentialPhases.Run(plan);
        // Invariant: neighbours that one block can run after each other share a kernel; every other boundary has its reason.

        plan = PlanArguments.Run(plan);
        // Invariant: entry points and argument lists are final; CUDA and launch code are both written from them.

        plan = PlanLifetimes.Run(plan);
        // Invariant: every buffer knows its writer and its last reader, and buffers that nobody uses are gone.

        return plan;
    }
}
