using System.Linq;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Finds each buffer's first writer and last reader, and drops buffers that no kernel touches.</summary>
internal static class PlanLifetimes
{
    public static FusionPlan Run(FusionPlan plan) => plan with
    {
        Buffers = plan.Buffers
            .Select(buffer => buffer with
            {
                Writer = plan.Kernels.FirstOrDefault(k => k.Steps.Any(s => s.Writes.Contains(buffer.Name)))?.Entry ?? "",
                LastReader = plan.Kernels.LastOrDefault(k => k.Steps.Any(s => s.Reads.Contains(buffer.Name)))?.Entry ?? "",
            })
            .Where(buffer => buffer.Writer.Length > 0 || buffer.LastReader.Length > 0)
            .ToEquatableArray(),
    };
}
