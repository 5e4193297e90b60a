using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Translation;

/// <summary>Which values an int of a rule can have, where that can be seen.</summary>
/// <param name="Min">The least one.</param>
/// <param name="Max">The greatest one.</param>
internal readonly record struct RuleRange(long Min, long Max)
{
    /// <summary>
    /// Positions that rules are given on a device, and differences of two: a run refuses longer problems. The floats in steps
    /// of 1 around 1.5 * 2^23 are as many, which makes such an int a float by two cheap instructions.
    /// </summary>
    public const int SmallBits = 22;

    public static RuleRange Any { get; } = new(int.MinValue, int.MaxValue);

    private static RuleRange Position { get; } = new(0, (1 << SmallBits) - 1);

    private static RuleRange Query { get; } = new(-(1 << SmallBits), (1 << SmallBits) - 1);

    /// <summary>Whether all of it lies within the positions and their differences.</summary>
    public bool IsSmall => Min >= Query.Min && Max <= Query.Max;

    /// <summary>The range of an expression.</summary>
    /// <param name="expression">An int.</param>
    /// <param name="locals">Ranges of locals that are assigned once.</param>
    public static RuleRange Of(RuleExpression expression, IReadOnlyDictionary<string, RuleRange> locals)
    {
        switch (expression)
        {
            case RuleLiteral literal:
                return new(literal.Bits, literal.Bits);
            case RulePosition { Part: PositionPart.Query }:
                return Query;
            case RulePosition { Part: PositionPart.Position or PositionPart.Length }:
                return new(0, int.MaxValue); // a sequence whose tokens are scored may be of any length
            case RulePosition:
                return Position;
            case RuleVariable variable:
                return locals.TryGetValue(variable.Name, out RuleRange known) ? known : Any;
            case RuleUnary { Operator: UnaryOperator.Negate } unary:
                RuleRange operand = Of(unary.Operand, locals);
                return Fit(-operand.Max, -operand.Min);
            case RuleBinary { Operator: BinaryOperator.Subtract, Left: RulePosition left, Right: RulePosition right } when AreApart(left.Part, right.Part):
                // Queries and keys together are no more than the positions, where a query may stand before position 0.
                return Query;
            case RuleBinary binary:
                return Of(binary.Operator, Of(binary.Left, locals), Of(binary.Right, locals));
            case RuleChoice choice:
                return Union(Of(choice.Then, locals), Of(choice.Else, locals));
            case RuleCall call when call.Arguments.All(a => a.Type == RuleType.Int):
                return Of(call.Function, call.Arguments.Select(a => Of(a, locals)).ToArray());
            default:
                return Any;
        }
    }

    private static bool AreApart(PositionPart left, PositionPart right) =>
        (left, right) is (PositionPart.Query, PositionPart.Key) or (PositionPart.Key, PositionPart.Query);

    private static RuleRange Of(BinaryOperator of, RuleRange a, RuleRange b)
    {
        switch (of)
        {
            case BinaryOperator.Add: return Fit(a.Min + b.Min, a.Max + b.Max);
            case BinaryOperator.Subtract: return Fit(a.Min - b.Max, a.Max - b.Min);
            case BinaryOperator.Multiply:
                long[] corners = [a.Min * b.Min, a.Min * b.Max, a.Max * b.Min, a.Max * b.Max];
                return Fit(corners.Min(), corners.Max());
            case BinaryOperator.Divide when b.Min > 0:
                return new(Math.Min(a.Min, a.Min / b.Min), Math.Max(a.Max, a.Max / b.Min));
            case BinaryOperator.Remainder when b.Min > 0:
                return new(a.Min < 0 ? -(b.Max - 1) : 0, b.Max - 1);
            case BinaryOperator.And when a.Min >= 0 || b.Min >= 0:
                return new(0, a.Min >= 0 && b.Min >= 0 ? Math.Min(a.Max, b.Max) : a.Min >= 0 ? a.Max : b.Max);
            case BinaryOperator.ShiftRight when a.Min >= 0:
                return new(0, a.Max);
            default:
                return Any;
        }
    }

    private static RuleRange Of(RuleFunction function, RuleRange[] of) => function switch
    {
        RuleFunction.Abs when of[0].Min > int.MinValue =>
            new(of[0].Min > 0 ? of[0].Min : Math.Max(0, -of[0].Max), Math.Max(-of[0].Min, of[0].Max)),
        RuleFunction.Min => new(Math.Min(of[0].Min, of[1].Min), Math.Min(of[0].Max, of[1].Max)),
        RuleFunction.Max => new(Math.Max(of[0].Min, of[1].Min), Math.Max(of[0].Max, of[1].Max)),
        RuleFunction.Clamp when of[1].Max <= of[2].Min => new(of[1].Min, of[2].Max),
        _ => Any,
    };

    private static RuleRange Union(RuleRange a, RuleRange b) => new(Math.Min(a.Min, b.Min), Math.Max(a.Max, b.Max));

    // What may wrap round may be anything.
    private static RuleRange Fit(long min, long max) => min >= int.MinValue && max <= int.MaxValue ? new(min, max) : Any;
}
