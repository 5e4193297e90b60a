using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using AttnCompose.Generators.Translation;

namespace AttnCompose.Generators.Emit;

/// <summary>Rules to the hook of the CPU loop: a struct with their options and spans, which applies them to a run of scores.</summary>
internal static class RuleHookEmitter
{
    /// <summary>In Execute: the hook with the spans of the call.</summary>
    public static void WriteBinding(SourceWriter writer, RuleNodes rules)
    {
        writer.WriteLine("var scores = this._rules;");
        for (int i = 0; i < rules.Spans.Count; i++)
            writer.WriteLine($"scores.{rules.Spans[i].Member} = cpu.RuleSpan<{rules.Spans[i].Buffer.Type.Keyword()}>({i});");
    }

    /// <summary>The struct.</summary>
    public static void Emit(SourceWriter writer, StageGraph graph)
    {
        RuleNodes rules = graph.Rules;
        HostRules host = HostRules.Of(rules);
        writer.WriteLine();
        writer.WriteHeading($"rules: {string.Join(", ", rules.Spec.Rules.OrderBy(r => r.Kind).Select(r => r.Method.CSharpName))}; {host.Words}");
        using (writer.WriteBlock("private struct ScoreRules : global::AttnCompose.Cpu.IScoreHook"))
        {
            foreach (RuleScalarNode scalar in rules.Scalars)
                writer.WriteLine($"public {scalar.Option.Parameter.Type} {scalar.Option.Identifier};");
            foreach (RuleSpanNode span in rules.Spans)
                writer.WriteLine($"public global::AttnCompose.Cpu.RuleSpan<{span.Buffer.Type.Keyword()}> {span.Member};");
            writer.WriteLineIf(rules.Scalars.Count + rules.Spans.Count > 0, "");
            writer.WriteLine($"public static bool IsIdentity => {(rules.Spec.ChangeScores ? "false" : "true")};");
            if (rules.Ranges.Any)
                WriteRanges(writer, rules);
            if (rules.Spec.Sink is { } sink)
                WriteSink(writer, graph, sink);
            writer.WriteLine();
            if (!rules.Spec.ChangeScores)
            {
                writer.WriteLine("public readonly void Apply(in global::AttnCompose.Cpu.ScoreSegment at, global::System.Span<float> scores) { }");
                return;
            }
            using (writer.WriteBlock("public readonly void Apply(in global::AttnCompose.Cpu.ScoreSegment at, global::System.Span<float> scores)"))
            {
                for (int i = 0; i < rules.Spans.Count; i++)
                {
                    writer.WriteLine(
                        $"global::System.ReadOnlySpan<{rules.Spans[i].Buffer.Type.Keyword()}> {host.Spans[i]} = this.{rules.Spans[i].Member};");
                }
                if (host.Lanes is { NeedsNeighbours: true })
                {
                    using (writer.WriteBlock("if (at.Keys.IsEmpty)"))
                    {
                        WriteLanes(writer, host);
                        writer.WriteLine("return;");
                    }
                }
                else if (host.Lanes is not null)
                {
                    WriteLanes(writer, host);
                    return;
                }
                WriteScalar(writer, graph, host);
            }
        }
    }

    private static void WriteRanges(SourceWriter writer, RuleNodes rules)
    {
        var names = new NameSet(rules.Scalars.Select(s => s.Option.Identifier).Concat(rules.Spans.Select(s => s.Member)).Concat(["at"]));
        MaskRanges ranges = MaskRanges.Of(rules.Spec, p => new RuleVariable(p.Type, MemberOf(rules, p)), names, out _)!;
        writer.WriteLine();
        writer.WriteLine("public static bool HasRanges => true;");
        writer.WriteLine();
        writer.WriteLineIf(!rules.Spec.Scores.Any(), "public static bool OnlyMasks => true;");
        writer.WriteLineIf(!rules.Spec.Scores.Any(), "");
        using (writer.WriteBlock("public readonly global::AttnCompose.Cpu.RuleVerdict Sees(in global::AttnCompose.Cpu.TileRanges at)"))
        {
            foreach (string line in RangeText.Statements(ranges, isDevice: false))
                writer.WriteLine(line);
        }
    }

    private static void WriteSink(SourceWriter writer, StageGraph graph, RuleSpec sink)
    {
        IEnumerable<string> rest = sink.Method.Parameters.Skip(sink.Given).Select(p => ", " + MemberOf(graph.Rules, p));
        writer.WriteLine();
        writer.WriteLine("public static bool HasSink => true;");
        writer.WriteLine();
        writer.WriteLine("public readonly float Sink(in global::AttnCompose.ScorePosition at) =>");
        writer.WriteLine($"    {graph.Type.Identifier}.{sink.Method.CSharpName}(at{string.Concat(rest)});");
    }

    private static string MemberOf(RuleNodes rules, RuleParameter parameter) => "this." + (parameter.Type.IsSpan()
        ? rules.Spans.First(s => s.Buffer.Name == parameter.Name).Member
        : rules.Scalars.First(s => s.Scalar.Name == parameter.Name).Option.Identifier);

    private static void WriteLanes(SourceWriter writer, HostRules host)
    {
        using (writer.WriteBlock("unchecked"))
        {
            foreach (string line in host.Lanes!.Before)
                writer.WriteLine(line);
            using (writer.WriteBlock("for (int i = 0; i < scores.Length; i += global::System.Numerics.Vector<float>.Count)"))
            {
                writer.WriteLine("global::System.Numerics.Vector<float> score = global::AttnCompose.Cpu.RuleLanes.Load<float>(scores, i);");
                writer.WriteLineIf(
                    host.Lanes.ReadsKey, "global::System.Numerics.Vector<int> key = global::AttnCompose.Cpu.RuleLanes.Keys(in at, i);");
                foreach (string line in host.Lanes.Body)
                    writer.WriteLine(line);
                writer.WriteLine($"global::AttnCompose.Cpu.RuleLanes.Store<float>({host.Lanes.Result}, scores, i);");
            }
        }
    }

    private static void WriteScalar(SourceWriter writer, StageGraph graph, HostRules host)
    {
        RuleNodes rules = graph.Rules;
        using (writer.WriteBlock("for (int i = 0; i < scores.Length; i++)"))
        {
            writer.WriteLine("global::AttnCompose.ScorePosition position = at.At(i);");
            foreach (RuleSpec mask in rules.Spec.Masks)
            {
                using (writer.WriteBlock($"if (!{Call(mask, "position")})"))
                {
                    writer.WriteLine("scores[i] = float.NegativeInfinity;");
                    writer.WriteLine("continue;");
                }
            }
            foreach (RuleSpec rule in rules.Spec.Scores)
                writer.WriteLine($"scores[i] = {Call(rule, "scores[i], position")};");
        }

        string Call(RuleSpec rule, string first)
        {
            IEnumerable<string> rest = rule.Method.Parameters.Skip(rule.Given).Select(p => ", " + Argument(p));
            return $"{graph.Type.Identifier}.{rule.Method.CSharpName}({first}{string.Concat(rest)})";
        }

        string Argument(RuleParameter parameter) => parameter.Type.IsSpan()
            ? host.Spans[rules.Spans.TakeWhile(s => s.Buffer.Name != parameter.Name).Count()]
            : $"this.{rules.Scalars.First(s => s.Scalar.Name == parameter.Name).Option.Identifier}";
    }
}
