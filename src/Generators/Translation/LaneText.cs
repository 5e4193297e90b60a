using System;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Translation;

/// <summary>What vector forms spell alike: operators and functions over vectors whose lanes are scores or tokens.</summary>
internal static class LaneText
{
    public const string Vectors = "global::System.Numerics.Vector", Lanes = "global::AttnCompose.Cpu.RuleLanes";

    /// <summary>The type of a vector; a bool is an int whose bits are all set.</summary>
    public static string TypeOf(RuleType type) => $"{Vectors}<{(type == RuleType.Float ? "float" : "int")}>";

    /// <summary>The same value in all lanes.</summary>
    public static string Same(string scalar, RuleType type) =>
        type == RuleType.Bool ? $"{Lanes}.Mask({scalar})" : $"{Vectors}.Create({scalar})";

    /// <summary>An operator with one operand.</summary>
    public static string Unary(UnaryOperator of, string operand) => $"({(of == UnaryOperator.Negate ? "-" : "~")}{operand})";

    /// <summary>An operator with two operands; null for a shift, whose count is no vector.</summary>
    /// <exception cref="NoLanesException">It has no vector form.</exception>
    public static string? Binary(RuleBinary binary, Func<string> left, Func<string> right)
    {
        if (binary.Operator is BinaryOperator.ShiftLeft or BinaryOperator.ShiftRight or BinaryOperator.ShiftRightLogical)
            return null;
        if (binary.Operator is BinaryOperator.Divide or BinaryOperator.Remainder && binary.Type == RuleType.Int)
            throw new NoLanesException("it divides ints that change from key to key");
        bool isBool = binary.Left.Type == RuleType.Bool;
        (string a, string b) = (left(), right());
        return binary.Operator switch
        {
            BinaryOperator.BothOf => $"({a} & {b})",
            BinaryOperator.EitherOf => $"({a} | {b})",
            BinaryOperator.Equal when isBool => $"(~({a} ^ {b}))",
            BinaryOperator.NotEqual when isBool => $"({a} ^ {b})",
            BinaryOperator.Equal => $"{Vectors}.Equals({a}, {b})",
            BinaryOperator.NotEqual => $"(~{Vectors}.Equals({a}, {b}))",
            BinaryOperator.Less => $"{Vectors}.LessThan({a}, {b})",
            BinaryOperator.LessOrEqual => $"{Vectors}.LessThanOrEqual({a}, {b})",
            BinaryOperator.Greater => $"{Vectors}.GreaterThan({a}, {b})",
            BinaryOperator.GreaterOrEqual => $"{Vectors}.GreaterThanOrEqual({a}, {b})",
            _ => $"({a} {RuleText.Operator(binary.Operator)} {b})",
        };
    }

    /// <summary>An int as a float, or a float cut off to an int.</summary>
    public static string Cast(RuleType to, string operand) => $"{Vectors}.ConvertTo{(to == RuleType.Int ? "Int32" : "Single")}({operand})";

    /// <summary>A function of the platform.</summary>
    /// <exception cref="NoLanesException">It has no vector form.</exception>
    public static string Call(RuleFunction function, string[] of)
    {
        string arguments = string.Join(", ", of);
        return function switch
        {
            RuleFunction.Sqrt => $"{Vectors}.SquareRoot({arguments})",
            RuleFunction.FastTanh or RuleFunction.Tanh => $"{Lanes}.Tanh({arguments})",
            RuleFunction.Clamp or RuleFunction.SoftCap or RuleFunction.IsFinite => $"{Lanes}.{function}({arguments})",
            RuleFunction.IsNaN => $"(~{Vectors}.Equals({of[0]}, {of[0]}))",
            RuleFunction.Pow => throw new NoLanesException("MathF.Pow has no vector form"),
            _ => $"{Vectors}.{function}({arguments})",
        };
    }
}

/// <summary>A rule has no vector form; the message says why.</summary>
internal sealed class NoLanesException(string message) : Exception(message);
