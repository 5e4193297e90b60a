using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// What a rule computes from its options alone: the same for every score of a call. The device's compiler computes it again for
/// each score where it is a division, which has a branch.
/// </summary>
internal static class RuleConstants
{
    /// <summary>The largest such expressions of a rule that cost more to compute than to keep, in the order of the text.</summary>
    public static IReadOnlyList<RuleExpression> Of(RuleSpec rule)
    {
        RuleStatement[] statements = [.. rule.Method.Body.SelectMany(statement => statement.All)];
        HashSet<string> options = [.. rule.Method.Parameters.Skip(rule.Given).Select(p => p.Name)];
        options.ExceptWith(statements.OfType<RuleAssign>().Select(assign => assign.Name));
        return [.. statements.SelectMany(s => s.Expressions).SelectMany(e => Largest(e, options)).Distinct()];
    }

    private static IEnumerable<RuleExpression> Largest(RuleExpression expression, HashSet<string> options) =>
        IsConstant(expression, options) && expression.All.Any(IsCostly) && expression.All.Any(part => part is RuleVariable)
            ? [expression]
            : expression.Parts.SelectMany(part => Largest(part, options));

    private static bool IsConstant(RuleExpression expression, HashSet<string> options) => expression.All.All(part => part switch
    {
        RuleVariable variable => options.Contains(variable.Name),
        RulePosition or RuleElement or RuleLength => false,
        _ => true,
    });

    private static bool IsCostly(RuleExpression expression) => expression is RuleInvoke || IsLong(expression);

    /// <summary>Whether what an expression does with its parts takes many instructions.</summary>
    public static bool IsLong(RuleExpression expression) => expression switch
    {
        RuleBinary binary => binary.Operator is BinaryOperator.Divide or BinaryOperator.Remainder,
        RuleCall call => call.Function is RuleFunction.Sqrt or RuleFunction.Exp or RuleFunction.Log or RuleFunction.Log2
            or RuleFunction.Pow or RuleFunction.Tanh or RuleFunction.FastTanh or RuleFunction.SoftCap,
        _ => false,
    };
}
