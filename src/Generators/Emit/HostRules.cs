using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using AttnCompose.Generators.Translation;

namespace AttnCompose.Generators.Emit;

/// <summary>The rules of a pipeline as C# of a hook's <c>Apply</c>: in vectors where that can be, else by the user's own methods.</summary>
/// <param name="Lanes">The vector form; null where there is none.</param>
/// <param name="Spans">Name of each span's local, in order.</param>
/// <param name="Words">Which form it is, and why where it is the slow one.</param>
internal sealed record HostRules(LaneRules? Lanes, EquatableArray<string> Spans, string Words)
{
    private static readonly string[] s_locals = ["score", "scores", "at", "i", "key", "position"];

    public static HostRules Of(RuleNodes rules)
    {
        var names = new NameSet(s_locals);
        EquatableArray<string> spans = rules.Spans.Select(s => names.Unique(Names.CSharp(s.Buffer.Name))).ToEquatableArray();
        FlatRules? flat = RuleFlattener.Flatten(
            rules.Spec, Parameter, new RuleVariable(RuleType.Float, "score"), new RuleVariable(RuleType.Position, "at"), names, out string why);
        LaneRules? lanes = flat is null ? null : LaneRules.Of(flat, names, out why);
        string words = !rules.Spec.ChangeScores ? "once a row"
            : lanes is null ? $"one score at a time, because {why}"
            : lanes.NeedsNeighbours ? "in vectors where keys are neighbours, else one score at a time"
            : "in vectors";
        return new HostRules(lanes, spans, words);

        RuleVariable Parameter(RuleParameter parameter) => new(
            parameter.Type,
            parameter.Type.IsSpan()
                ? spans[rules.Spans.TakeWhile(s => s.Buffer.Name != parameter.Name).Count()]
                : $"this.{rules.Scalars.First(s => s.Scalar.Name == parameter.Name).Option.Identifier}");
    }
}
