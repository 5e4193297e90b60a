using System.Linq;
using AttnCompose.Generators.Ir;

namespace AttnCompose.Generators.Emit;

/// <summary>Stage graph to the CPU path: the stages' coarse methods in order, with hooks passed as structs.</summary>
internal static class CpuEmitter
{
    public static void Emit(SourceWriter writer, StageGraph graph)
    {
        EmitParts(writer, graph, "global::AttnCompose.Cpu.ICpuPipeline");
        writer.WriteLine("/// <inheritdoc/>");
        using (writer.WriteBlock(
            "void global::AttnCompose.Cpu.ICpuPipeline.Execute<T, TOut>(in global::AttnCompose.Cpu.CpuProblem<T, TOut> problem, global::AttnCompose.Cpu.CpuExecution cpu)"))
        {
            writer.WriteLine("var inputs = problem.Inputs;");
            if (graph.Rules.Any)
                RuleHookEmitter.WriteBinding(writer, graph.Rules);
            else
                writer.WriteLine("var scores = default(global::AttnCompose.Cpu.NoScoreHook);");
            bool selects = graph.Compress is not null;
            writer.WriteLineIf(selects, "var selection = cpu.BeginSelection(problem.Shape);");
            foreach (StageNode node in graph.Nodes)
            {
                writer.WriteLine();
                writer.WriteHeading($"{Words(node.Stage.Kind)}: {node.Stage.Name}");
                writer.WriteLine(node.Stage.Kind switch
                {
                    StageKind.TokenScore => $"// the selector below asks it for scores{(node.Stage.Rule is null ? "" : "; it is the TokenRule below")}",
                    StageKind.TokenSelector => $"this.{node.Field}.Select(in inputs, cpu, scores, selection);",
                    StageKind.BlockSelector => $"this.{node.Field}.Select(in inputs, cpu, {RowsOf(graph)}, scores, cpu.Blocks);",
                    StageKind.Compress => $"var rows = this.{node.Field}.Rows(selection);",
                    // The destination is a hook of the loop, so it is made before the loop runs.
                    StageKind.AttentionKernel => Attend(graph, node),
                    _ => "// a hook of the loop above: it stores each row and fills those that were not computed",
                });
            }
        }
        if (graph.Rules.Any)
            RuleHookEmitter.Emit(writer, graph);
        if (graph.TokenRule is { } score)
            TokenRuleEmitter.Emit(writer, graph, score);
    }

    /// <summary>
    /// The properties that tell a runner which stages make and use the block list, and which tensors a call has; neither where there
    /// is none.
    /// </summary>
    public static void EmitParts(SourceWriter writer, StageGraph graph, string contract)
    {
        if (graph.BlockSelector is { } selector)
            Property("global::AttnCompose.BlockStages?", "Blocks", $"new(this.{selector.Field}, this.{graph.Kernel.Field})");
        if (graph.Tensors.Any())
            Property("global::System.Collections.Generic.IReadOnlyList<global::AttnCompose.TensorPlan>", "Tensors", "Plan.Tensors");

        void Property(string type, string name, string value)
        {
            writer.WriteLine("/// <inheritdoc/>");
            writer.WriteLine($"{type} {contract}.{name} => {value};");
            writer.WriteLine();
        }
    }

    private static string Attend(StageGraph graph, StageNode kernel)
    {
        string destination = graph.Decompress is { } decompress
            ? $"this.{decompress.Field}.Destination(selection)"
            : "default(global::AttnCompose.Cpu.DirectDestination)";
        return $"this.{kernel.Field}.Attend(in problem, cpu, {RowsOf(graph)}, {(graph.BlockSelector is null ? "" : "cpu.Blocks, ")}scores, {destination});";
    }

    private static string RowsOf(StageGraph graph) => graph.Compress is null ? "default(global::AttnCompose.Cpu.DirectRows)" : "rows";

    private static string Words(StageKind kind) => kind switch
    {
        StageKind.TokenScore => "token score",
        StageKind.TokenSelector => "token selector",
        StageKind.Compress => "compress, a row-source hook",
        StageKind.BlockSelector => "block selector",
        StageKind.AttentionKernel => "attention kernel",
        _ => "decompress, a row-destination hook",
    };
}
