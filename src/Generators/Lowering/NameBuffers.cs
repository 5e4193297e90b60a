using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Lowering;

/// <summary>Gives each stage's workspace buffers names that no other buffer, option or tensor of the pipeline has.</summary>
internal static class NameBuffers
{
    public static FusionPlan Run(FusionPlan plan)
    {
        var names = new NameSet(
            Names.Reserved.Concat(plan.Graph.Options.Select(o => o.Argument)).Concat(plan.Graph.Spans.Select(s => s.Argument))
                .Concat(plan.Graph.Tensors.Select(t => t.Name)));
        var buffers = new List<BufferNode>();
        for (int stage = 0; stage < plan.Graph.Nodes.Count; stage++)
        {
            foreach (BufferSpec buffer in plan.Graph.Nodes[stage].Device.Buffers)
            {
                buffers.Add(new BufferNode(
                    stage, buffer.Name, names.Unique(buffer.Name, "_"), buffer.ElementType, buffer.Shape, Writer: "", LastReader: ""));
            }
        }
        return plan with { Buffers = buffers.ToEquatableArray() };
    }
}
