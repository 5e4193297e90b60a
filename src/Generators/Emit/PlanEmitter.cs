using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;

namespace AttnCompose.Generators.Emit;

/// <summary>Fusion plan to the C# that builds a PipelinePlan: the plan as data, for programs and for people.</summary>
internal static class PlanEmitter
{
    public static void Emit(SourceWriter writer, FusionPlan plan)
    {
        StageGraph graph = plan.Graph;
        writer.WriteLine("/// <summary>Stages, kernels, buffers, and why each kernel is separate.</summary>");
        using (writer.WriteBlock("public static global::AttnCompose.PipelinePlan Plan { get; } = new()", "};"))
        {
            writer.WriteLine($"""
                Name = {Literals.CSharpString(graph.Name)},
                Type = {Literals.CSharpString(graph.Type.FullName)},
                Mask = global::AttnCompose.AttentionMask.{graph.Mask},
                HeadDim = {Literals.Number("int", graph.HeadDim)},
                Element = global::AttnCompose.ElementType.{graph.Element},
                """);
            WriteStages(writer, plan);
            if (graph.Tensors.Any())
                WriteTensors(writer, graph);
            if (graph.Rules.Any)
                WriteRules(writer, graph.Rules);
            WriteKernels(writer, plan);
            WriteBuffers(writer, plan);
        }
        writer.WriteLine();
        writer.WriteLine("""
            /// <summary>The pipeline as a value, for programs that choose one by name.</summary>
            public static global::AttnCompose.PipelineDescriptor Descriptor { get; } =
                new(Plan, static (device, values) => Create(device, Options.From(values))) { CudaSource = CudaText };

            """);
    }

    private static void WriteStages(SourceWriter writer, FusionPlan plan)
    {
        writer.WriteLine("Stages =");
        writer.WriteLine("[");
        using (writer.Indent())
        {
            for (int i = 0; i < plan.Graph.Nodes.Count; i++)
            {
                StageNode node = plan.Graph.Nodes[i];
                writer.WriteLine($"new(global::AttnCompose.StageKind.{node.Stage.Kind}, {Literals.CSharpString(node.Stage.Name)}, {Literals.CSharpString(Placement(plan, i))},");
                writer.WriteLine("[");
                using (writer.Indent())
                {
                    foreach (ParameterSpec p in node.Stage.Parameters)
                        WriteParameter(writer, node.Options.FirstOrDefault(o => o.Parameter == p)?.Member ?? p.Name, p);
                }
                writer.WriteLine("]),");
            }
        }
        writer.WriteLine("],");
    }

    private static void WriteTensors(SourceWriter writer, StageGraph graph)
    {
        writer.WriteLine("Tensors =");
        writer.WriteLine("[");
        using (writer.Indent())
        {
            foreach (StageNode node in graph.Nodes)
            {
                foreach (TensorSpec tensor in node.Stage.Tensors)
                {
                    string shape = string.Join(", ", tensor.Shape.Select(e => $"new({Literals.CSharpString(e.Name)}, {Literals.Number("int", e.Count)})"));
                    writer.WriteLine(
                        $"new({Literals.CSharpString(tensor.Name)}, {Literals.CSharpString(tensor.ElementType)}, [{shape}], "
                        + $"{Literals.CSharpString(node.Stage.Name)}, {Literals.CSharpString(tensor.Summary)}),");
                }
            }
        }
        writer.WriteLine("],");
    }

    /// <summary>Where the stage runs, and what its positions count where that is not the sequence.</summary>
    private static string Placement(FusionPlan plan, int stage)
    {
        bool isCompressed = plan.Graph.Nodes[stage].Stage.Kind == StageKind.BlockSelector
            && plan.Graph.Nodes.Any(node => node.Stage.Kind == StageKind.Compress);
        if (plan.Graph.Nodes[stage] is { Stage.Rule: not null } rule)
            return $"{CudaEmitter.PlacementOf(plan, stage)}; on the CPU {HostTokenRule.Of(plan.Graph, rule).Words}";
        return CudaEmitter.PlacementOf(plan, stage) + (isCompressed ? "; blocks, columns and slashes count rows of the compressed sequence" : "");
    }

    private static void WriteParameter(SourceWriter writer, string name, ParameterSpec p) => writer.WriteLine(
        $"new({Literals.CSharpString(name)}, \"{p.Type}\", {(p.IsConstant ? "true" : "false")}, {Literals.CSharpDouble(p.Value)}, {Literals.CSharpDouble(p.Min)}, {Literals.CSharpDouble(p.Max)}),");

    private static void WriteRules(SourceWriter writer, RuleNodes rules)
    {
        writer.WriteLine("Rules =");
        writer.WriteLine("[");
        using (writer.Indent())
        {
            foreach (RuleSpec rule in rules.Spec.Rules.OrderBy(r => r.Kind))
            {
                string name = rule.Method.CSharpName.TrimStart('@');
                var spans = rules.Spans.Where(s => s.Buffer.Rules.Contains(name))
                    .Select(s => Literals.CSharpString($"{s.Buffer.Type.Keyword()} {s.Buffer.Name}"));
                writer.WriteLine($"new({Literals.CSharpString(name)}, global::AttnCompose.RuleForm.{rule.Kind},");
                writer.WriteLine("[");
                using (writer.Indent())
                {
                    foreach (RuleScalarNode scalar in rules.Scalars.Where(s => s.Scalar.Rules[0] == name))
                        WriteParameter(writer, scalar.Option.Member, scalar.Scalar.Parameter);
                }
                writer.WriteLine("],");
                writer.WriteLine($"[{string.Join(", ", spans)}]),");
            }
        }
        writer.WriteLine("],");
        writer.WriteLine($"RulesOnCpu = {Literals.CSharpString(HostRules.Of(rules).Words)},");
    }

    private static void WriteKernels(SourceWriter writer, FusionPlan plan)
    {
        writer.WriteLine("Kernels =");
        writer.WriteLine("[");
        using (writer.Indent())
        {
            foreach (KernelNode kernel in plan.Kernels)
            {
                var steps = kernel.Steps.SelectMany(s => Steps(plan, kernel, s)).Select(Literals.CSharpString);
                writer.WriteLine($"new({Literals.CSharpString(kernel.Entry)}, {Literals.CSharpString(ScopeWords.Of(kernel.Scope))},");
                using (writer.Indent())
                {
                    writer.WriteLine($"[{string.Join(", ", steps)}],");
                    string condition = kernel.Path == KernelPath.Every ? "" : $" {{ Condition = {Condition(kernel.Path)} }}";
                    writer.WriteLine($"{Literals.CSharpString(kernel.SplitReason)}){condition},");
                }
            }
        }
        writer.WriteLine("],");
    }

    private static System.Collections.Generic.IEnumerable<string> Steps(
        FusionPlan plan, KernelNode kernel, StepNode step)
    {
        yield return $"{plan.Graph.Nodes[step.Stage].Stage.Name}.{step.Phase}: {step.Summary}";
        if ((step.Given & FusionPoint.Score) != 0 && !step.TakesHooks && plan.Graph.Rules.Any)
            yield return $"  {plan.Score!.Point} = rules: {plan.Score.Summary}";
        if (!step.TakesHooks)
            yield break;
        foreach (HookNode hook in plan.HooksOf(kernel, step))
        {
            string who = hook.Stage >= 0 ? plan.Graph.Nodes[hook.Stage].Stage.Name
                : hook == plan.Score && plan.Graph.Rules.Any ? "rules"
                : "default";
            yield return $"  hook {hook.Point} = {who}: {hook.Summary}";
        }
        yield return $"  tiles = {ScopeWords.TilesOf(plan.Graph, kernel.Path)}";
    }

    /// <summary>The words, with the number of the running library: which way is taken is chosen there, not here.</summary>
    private static string Condition(KernelPath path) =>
        $"$\"{ScopeWords.Of(path, " ({(global::AttnCompose.Cuda.CudaTuning.Default.GatherLength)} queries; CudaTuning)")}\"";

    private static void WriteBuffers(SourceWriter writer, FusionPlan plan)
    {
        writer.WriteLine("Buffers =");
        writer.WriteLine("[");
        using (writer.Indent())
        {
            foreach (BufferNode b in plan.Buffers)
            {
                writer.WriteLine(
                    $"new({Literals.CSharpString(b.Name)}, {Literals.CSharpString(b.ElementType)}, {Literals.CSharpString(b.Shape)}, {Literals.CSharpString(b.Writer)}, {Literals.CSharpString(b.LastReader)}),");
            }
        }
        writer.WriteLine("],");
    }
}
