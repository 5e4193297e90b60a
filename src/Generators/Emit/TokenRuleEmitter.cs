using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Emit;

/// <summary>A token score rule to the stage that it is on the CPU: a nested attribute, as if an author had written it.</summary>
internal static class TokenRuleEmitter
{
    public static void Emit(SourceWriter writer, StageGraph graph, StageNode node)
    {
        TokenRuleSpec rule = node.Stage.Rule!;
        HostTokenRule host = HostTokenRule.Of(graph, node);
        RuleSpanNode[] spans = [.. graph.Spans.Where(s => rule.Spans.Any(span => span.Name == s.Buffer.Name))];
        writer.WriteLine();
        writer.WriteHeading($"token score: {rule.Method.CSharpName}; {host.Words}");
        using (writer.WriteBlock("private sealed class TokenRule : global::AttnCompose.TokenScoreAttribute"))
        {
            foreach (OptionNode option in node.Options)
                writer.WriteLine($"public {option.Parameter.Type} {option.Parameter.Identifier};");
            writer.WriteLineIf(node.Options.Count > 0, "");
            writer.WriteLine("public override void Score<T, TScore>(");
            writer.WriteLine("    in global::AttnCompose.Cpu.CpuInputs<T> problem, global::AttnCompose.Cpu.CpuExecution cpu, TScore rules,");
            writer.WriteLine("    in global::AttnCompose.TokenScores scores) =>");
            IEnumerable<string> values = node.Options.Select(o => $"{o.Parameter.Identifier} = this.{o.Parameter.Identifier}")
                .Concat(spans.Select(s => $"{s.Member} = cpu.RuleSpan<{s.Buffer.Type.Keyword()}>({graph.Spans.ToList().IndexOf(s)})"));
            string made = string.Join(", ", values);
            writer.WriteLine($"    global::AttnCompose.Cpu.TokenRuleScorer.Score(in problem, cpu, new Rule{(made.Length > 0 ? $" {{ {made} }}" : "()")}, in scores);");
            writer.WriteLine();
            using (writer.WriteBlock("private struct Rule : global::AttnCompose.Cpu.ITokenRule"))
            {
                foreach (OptionNode option in node.Options)
                    writer.WriteLine($"public {option.Parameter.Type} {option.Parameter.Identifier};");
                foreach (RuleSpanNode span in spans)
                    writer.WriteLine($"public global::AttnCompose.Cpu.RuleSpan<{span.Buffer.Type.Keyword()}> {span.Member};");
                writer.WriteLineIf(node.Options.Count + spans.Length > 0, "");
                Says("ReadsKey", rule.ReadsKey);
                Says("ReadsValue", rule.ReadsValue);
                Says("DiffersByQueryHead", rule.DiffersByQueryHead);
                Says("InVectors", host.Lanes is not null);
                writer.WriteLine();
                using (writer.WriteBlock("public readonly void Score(in global::AttnCompose.Cpu.TokenSegment at, global::System.Span<float> scores)"))
                {
                    foreach (string line in host.Body)
                        writer.WriteLine(line);
                }
                if (host.Functions.Count > 0)
                {
                    // What the method says of these the compiler says there.
                    writer.WriteLine("\n#pragma warning disable CS0162, CS0219, CS1717, CS1718");
                    foreach (string line in host.Functions)
                        writer.WriteLine(line);
                    writer.WriteLine("#pragma warning restore CS0162, CS0219, CS1717, CS1718");
                }
            }
        }

        void Says(string name, bool value) => writer.WriteLine($"public static bool {name} => {(value ? "true" : "false")};");
    }
}
