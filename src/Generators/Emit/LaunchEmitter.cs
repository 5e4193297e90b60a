using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Emit;

/// <summary>
/// Fusion plan to the C# that sizes the workspace and launches the kernels. Arguments are passed in the order in which
/// <see cref="CudaEmitter"/> declares them: both read the same list.
/// </summary>
internal static class LaunchEmitter
{
    public static void Emit(SourceWriter writer, FusionPlan plan)
    {
        WriteProgram(writer, plan);
        CpuEmitter.EmitParts(writer, plan.Graph, "global::AttnCompose.Cuda.ICudaPipeline");
        WriteWorkspace(writer, plan);
        WriteLaunches(writer, plan);
    }

    private static void WriteProgram(SourceWriter writer, FusionPlan plan)
    {
        StageGraph graph = plan.Graph;
        // One stage of each assembly stands for it; which one does not matter.
        var assemblies = graph.Nodes.Where(n => n.Device.Assembly.Length > 0).GroupBy(n => n.Device.Assembly).Select(g => $"typeof({g.First().Stage.TypeName}).Assembly");
        var elements = graph.Nodes
            .Where(n => n.Device.Elements.Count > 0)
            .Aggregate(
                new[] { ElementType.Float16, ElementType.BFloat16, ElementType.Float32 }.AsEnumerable(),
                (all, n) => all.Where(n.Device.Elements.Contains))
            .Select(e => $"global::AttnCompose.ElementType.{e}");
        string gathered = plan.Kernels.FirstOrDefault(k => k.Path == KernelPath.Gathered && k.Steps.Any(s => s.TakesHooks)) is { } loop
            ? $"\n    GatheredEntry = {Literals.CSharpString(loop.Entry)},"
            : "";
        string rules = graph.Rules.Any ? "\n    HasRules = true," : "";
        string tiles = graph.HasTileChoice ? "\n    HasTileChoice = true," : "";
        // Nothing here reads Plan: the order in which the parts of a class initialise their statics is not defined.
        writer.WriteLine($$"""
            private static readonly global::AttnCompose.Cuda.CudaProgram s_program = new()
            {
                Name = {{Literals.CSharpString(graph.Name)}},
                Source = new({{Literals.CSharpString(Names.Device(graph.Name))}}, CudaText, [{{string.Join(", ", assemblies)}}]),
                Mask = global::AttnCompose.AttentionMask.{{graph.Mask}},
                HeadDim = {{Literals.Number("int", graph.HeadDim)}},
                Element = global::AttnCompose.ElementType.{{graph.Element}},
                Elements = [{{string.Join(", ", elements)}}],
                SelectsTokens = {{(graph.Compress is null ? "false" : "true")}},{{tiles}}{{gathered}}{{rules}}
            };

            """);
    }

    private static void WriteWorkspace(SourceWriter writer, FusionPlan plan)
    {
        writer.WriteLine("/// <inheritdoc/>");
        using (writer.WriteBlock("void global::AttnCompose.Cuda.ICudaPipeline.DescribeWorkspace(in global::AttnCompose.ProblemShape shape, global::AttnCompose.Cuda.CudaWorkspace workspace)"))
        {
            writer.WriteLineIf(
                plan.Graph.Rules.Ranges.Bounded.Count > 0,
                $"workspace.AddRuleBounds({plan.Graph.Rules.Ranges.Bounded.Count}, in shape);");
            for (int stage = 0; stage < plan.Graph.Nodes.Count; stage++)
            {
                StageNode node = plan.Graph.Nodes[stage];
                string add = node.Device.Gather is null ? "Add" : "AddGathered";
                // A block selector's buffers depend on the block sizes of the kernel.
                string kernel = node.Stage.Kind == StageKind.BlockSelector ? $"this.{plan.Graph.Kernel.Field}, " : "";
                writer.WriteLineIf(
                    plan.Buffers.Any(b => b.Stage == stage), $"workspace.{add}(this.{node.Field}, {kernel}in shape);");
            }
        }
        writer.WriteLine();
    }

    private static void WriteLaunches(SourceWriter writer, FusionPlan plan)
    {
        writer.WriteLine("/// <inheritdoc/>");
        using (writer.WriteBlock("void global::AttnCompose.Cuda.ICudaPipeline.Launch(global::AttnCompose.Cuda.CudaLaunch launch)"))
        {
            KernelPath path = KernelPath.Every;
            SourceWriter.Block? block = null;
            for (int i = 0; i < plan.Kernels.Count; i++)
            {
                KernelNode kernel = plan.Kernels[i];
                bool begins = kernel.Path != path;
                if (begins)
                {
                    block?.Dispose();
                    block = null;
                    path = kernel.Path;
                }
                if (i > 0)
                    writer.WriteLine();
                if (begins && path != KernelPath.Every)
                    block = writer.WriteBlock(path == KernelPath.InLoop ? "if (!launch.GathersAhead)" : "while (launch.NextHeads())");
                WriteLaunch(writer, plan, i);
            }
            block?.Dispose();
        }
    }

    private static void WriteLaunch(SourceWriter writer, FusionPlan plan, int index)
    {
        KernelNode kernel = plan.Kernels[index];
        writer.WriteHeading($"kernel {index + 1} of {plan.Kernels.Count}: one block a {ScopeWords.Of(kernel.Scope)}");
        writer.WriteLine($"launch.Begin({Literals.CSharpString(kernel.Entry)}, global::AttnCompose.PhaseScope.{kernel.Scope});");
        writer.WriteLine("launch.Pass(in launch.Problem);");
        foreach (ArgumentNode argument in kernel.Arguments)
        {
            writer.WriteLine(argument.Kind == ArgumentKind.TensorMaps
                ? $"launch.PassTensorMaps({GatheredBuffers(plan, argument)});"
                : $"launch.Pass({ValueOf(plan, argument)});");
        }
        writer.WriteLine("launch.Run();");
    }

    private static string GatheredBuffers(FusionPlan plan, ArgumentNode argument)
    {
        if (argument.Stage < 0 || plan.Graph.Nodes[argument.Stage] is not { Device.Gather: { } gather } stage)
            return "";
        return $"launch.Buffer(this.{stage.Field}, {Literals.CSharpString(gather.Key)}), "
            + $"launch.Buffer(this.{stage.Field}, {Literals.CSharpString(gather.Value)})";
    }

    private static string ValueOf(FusionPlan plan, ArgumentNode argument)
    {
        RuleNodes rules = plan.Graph.Rules;
        return argument.Kind switch
        {
            ArgumentKind.TokenIndex => "in launch.TokenIndex",
            ArgumentKind.BlockList => "in launch.BlockList",
            ArgumentKind.Heads => "in launch.Heads",
            ArgumentKind.Tensor => $"launch.Tensor({Literals.CSharpString(argument.Name)})",
            ArgumentKind.Buffer => $"launch.Buffer(this.{Stage().Field}, {Literals.CSharpString(argument.Member)})",
            ArgumentKind.RuleScalar => $"this._rules.{rules.Scalars.First(s => s.Option.Argument == argument.Name).Option.Identifier}",
            ArgumentKind.RuleBounds => "in launch.RuleBounds",
            ArgumentKind.RuleSpan => $"in launch.RuleSpan({plan.Graph.Spans.TakeWhile(s => s.Argument != argument.Name).Count()})",
            _ => $"this.{Stage().Field}.{Stage().Options.First(o => o.Argument == argument.Name).Parameter.Identifier}",
        };

        StageNode Stage() => plan.Graph.Nodes[argument.Stage];
    }
}
