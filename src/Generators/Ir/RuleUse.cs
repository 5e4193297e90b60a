using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Ir;

/// <summary>What rules read of their spans.</summary>
internal static class RuleUse
{
    /// <summary>Parts of the problem that a span is indexed by as they are, in any rule or method that it is handed to.</summary>
    public static RuleAxes AxesOf(RulesSpec rules, TokenRuleSpec? score, RuleBuffer span)
    {
        RuleAxes axes = AxesOf(rules.Rules.Select(rule => rule.Method), rules.Helpers, span);
        return score is null ? axes : axes | AxesOf([score.Method], score.Helpers, span);
    }

    private static RuleAxes AxesOf(IEnumerable<RuleMethod> rules, IEnumerable<RuleMethod> helpers, RuleBuffer span)
    {
        Dictionary<string, RuleMethod> methods = helpers.Concat(rules).ToDictionary(method => method.Name);
        return rules.Where(rule => rule.Parameters.Any(p => p.Name == span.Name))
            .Aggregate(RuleAxes.None, (axes, rule) => axes | AxesOf(rule, span.Name, methods));
    }

    private static RuleAxes AxesOf(RuleMethod method, string span, Dictionary<string, RuleMethod> methods)
    {
        RuleAxes axes = RuleAxes.None;
        foreach (RuleExpression expression in method.Body.SelectMany(s => s.All).SelectMany(s => s.Expressions).SelectMany(e => e.All))
        {
            if (expression is RuleElement element && element.Span.Name == span)
                axes |= element.Axis;
            if (expression is not RuleInvoke invoke)
                continue;
            RuleMethod called = methods[invoke.Method];
            for (int i = 0; i < invoke.Arguments.Count; i++)
            {
                if (invoke.Arguments[i] is RuleVariable variable && variable.Type.IsSpan() && variable.Name == span)
                    axes |= AxesOf(called, called.Parameters[i].Name, methods);
            }
        }
        return axes;
    }
}
