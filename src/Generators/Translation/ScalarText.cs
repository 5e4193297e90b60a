using System.Linq;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Translation;

/// <summary>Expressions as C#. Variables and methods are names of C#; the position is a score segment, which has the parts but the key.</summary>
internal static class ScalarText
{
    /// <summary>The text, in parentheses where it is more than a name or a call.</summary>
    public static string Of(RuleExpression expression)
    {
        switch (expression)
        {
            case RuleLiteral literal:
                return Literal(literal);
            case RuleVariable variable:
                return variable.Name;
            case RulePosition position:
                return $"{position.Variable}.{position.Part}";
            case RuleElement element:
                return $"{element.Span.Name}[{Of(element.Index)}]";
            case RuleLength length:
                return $"{length.Span.Name}.Length";
            case RuleUnary unary:
                return $"({RuleText.Operator(unary.Operator)}({Of(unary.Operand)}))";
            case RuleBinary binary:
                return $"({Of(binary.Left)} {RuleText.Operator(binary.Operator)} {Of(binary.Right)})";
            case RuleChoice choice:
                return $"({Of(choice.Test)} ? {Of(choice.Then)} : {Of(choice.Else)})";
            case RuleCast cast:
                return $"(({cast.Type.Keyword()}){Of(cast.Operand)})";
            case RuleInvoke invoke:
                return $"{invoke.Method}({string.Join(", ", invoke.Arguments.Select(Of))})";
            default:
                var call = (RuleCall)expression;
                string type = call.Function switch
                {
                    RuleFunction.FastTanh or RuleFunction.SoftCap => "global::AttnCompose.RuleMath",
                    RuleFunction.IsNaN or RuleFunction.IsFinite => "float",
                    RuleFunction.Clamp => "global::System.Math",
                    _ => call.Type == RuleType.Int ? "global::System.Math" : "global::System.MathF",
                };
                return $"{type}.{call.Function}({string.Join(", ", call.Arguments.Select(Of))})";
        }
    }

    /// <summary>Whether an expression itself, its parts left out, may throw in C#.</summary>
    public static bool MayThrow(RuleExpression expression) => expression switch
    {
        RuleElement element => element.Axis == RuleAxes.None,
        RuleBinary { Type: RuleType.Int, Operator: BinaryOperator.Divide or BinaryOperator.Remainder, Right: var by } =>
            by is not RuleLiteral { Bits: not (0 or -1) },
        RuleCall { Function: RuleFunction.Clamp, Arguments: var of } => !(of[1] is RuleLiteral low && of[2] is RuleLiteral high && IsBelow(low, high)),
        RuleCall { Type: RuleType.Int, Function: RuleFunction.Abs } => true,
        _ => false,
    };

    private static bool IsBelow(RuleLiteral low, RuleLiteral high) =>
        low.Type == RuleType.Float ? RuleText.Float(low) <= RuleText.Float(high) : low.Bits <= high.Bits;

    private static string Literal(RuleLiteral literal) => literal.Type switch
    {
        RuleType.Bool => literal.Bits != 0 ? "true" : "false",
        RuleType.Int => RuleText.Int(literal.Bits),
        _ => RuleText.Float(literal) switch
        {
            float.PositiveInfinity => "float.PositiveInfinity",
            float.NegativeInfinity => "float.NegativeInfinity",
            var value when float.IsNaN(value) => "float.NaN",
            var value => RuleText.Finite(value),
        },
    };
}
