using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using AttnCompose.Generators.Translation;

namespace AttnCompose.Generators.Emit;

/// <summary>A token score rule as C#: over vectors of tokens where that can be, else by the user's own method.</summary>
/// <param name="Lanes">The vector form; null where there is none.</param>
/// <param name="Body">Lines that score a segment: <c>at</c> and <c>scores</c>.</param>
/// <param name="Functions">Lines of the functions that it calls.</param>
/// <param name="Words">Which form it is, and why where it is the slow one.</param>
internal sealed record HostTokenRule(
    LaneTokenRule? Lanes, EquatableArray<string> Body, EquatableArray<string> Functions, string Words)
{
    public static HostTokenRule Of(StageGraph graph, StageNode node)
    {
        TokenRuleSpec rule = node.Stage.Rule!;
        LaneTokenRule? lanes = LaneTokenRule.Of(rule, graph.Type.Identifier, out string why);
        string Rest(string index) => string.Concat(rule.Method.Parameters.Skip(1).Select(p => ", " + p.Name switch
        {
            TokenRuleSpec.Key => lanes is null ? $"at.Key({index})" : "at.Keys",
            TokenRuleSpec.Value => lanes is null ? $"at.Value({index})" : "at.Values",
            _ => "this." + (graph.Spans.FirstOrDefault(s => s.Buffer.Name == p.Name)?.Member
                ?? node.Options.First(o => Names.Camel(o.Parameter.Name) == Names.Camel(p.Name)).Parameter.Identifier),
        }));
        string[] body = lanes is null
            ?
            [
                "for (int i = 0; i < scores.Length; i++)",
                $"    scores[i] = {graph.Type.Identifier}.{rule.Method.CSharpName}(at.At(i){Rest("i")});",
            ]
            :
            [
                $"for (int i = 0; i < scores.Length; i += {LaneText.TypeOf(RuleType.Float)}.Count)",
                $"    {LaneText.Lanes}.Store<float>({lanes.Rule}(in at, i{Rest("")}), scores, i);",
            ];
        return new HostTokenRule(
            lanes, body.ToEquatableArray(), (lanes?.Functions ?? []).ToEquatableArray(),
            lanes is null ? $"one token at a time, because {why}" : "in vectors of tokens");
    }
}
