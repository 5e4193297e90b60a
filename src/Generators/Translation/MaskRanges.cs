using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// The mask rules of a pipeline as one condition over ranges: with the first and last positions of a tile in place of positions,
/// it says whether the rules can hold and whether they can fail there.
/// </summary>
internal sealed class MaskRanges
{
    private MaskRanges(IReadOnlyList<FlatValue> values, RuleExpression sees)
    {
        (Values, Sees) = (values, sees);
        var varying = new HashSet<string>();
        foreach (FlatValue value in values)
        {
            if (Varies(value.Value, varying))
                varying.Add(value.Name);
        }
        Bounded = values.Select(v => v.Value).Append(sees).SelectMany(e => e.All).OfType<RuleElement>()
            .Where(element => Varies(element.Index, varying)).Select(element => element.Span.Name).Distinct().ToArray();
    }

    /// <summary>Named values, each after those that it is made of.</summary>
    public IReadOnlyList<FlatValue> Values { get; }

    /// <summary>Whether a query sees a key.</summary>
    public RuleExpression Sees { get; }

    /// <summary>Spans that are read at indices that change within a tile.</summary>
    public IReadOnlyList<string> Bounded { get; }

    /// <summary>The condition; null where there is no mask rule, or none without statements.</summary>
    /// <param name="rules">The rules.</param>
    /// <param name="parameters">Variables for the parameters of rules; the position is <c>at</c>.</param>
    /// <param name="names">Names that are taken; those of the values are added.</param>
    /// <param name="why">Why there is none, where there are mask rules.</param>
    public static MaskRanges? Of(RulesSpec rules, Func<RuleParameter, RuleVariable> parameters, NameSet names, out string why)
    {
        why = "";
        RuleSpec[] masks = rules.Masks.ToArray();
        if (masks.Length == 0)
            return null;
        var score = new RuleVariable(RuleType.Float, "score");
        FlatRules? flat = RuleFlattener.Flatten(
            rules with { Rules = masks.ToEquatableArray() }, parameters, score, new RuleVariable(RuleType.Position, "at"), names, out why);
        // The score itself where the masks hold.
        return flat is null ? null : new MaskRanges(flat.Values, ((RuleChoice)flat.Result).Test);
    }

    private static bool Varies(RuleExpression expression, HashSet<string> varying) => expression.All.Any(part => part switch
    {
        RuleVariable variable => varying.Contains(variable.Name),
        RulePosition position => position.Part is PositionPart.Query or PositionPart.Key,
        _ => false,
    });
}
