using System;
using System.Globalization;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Translation;

/// <summary>What the CUDA and the C# of a rule spell alike: operators and numbers.</summary>
internal static class RuleText
{
    public static string Operator(BinaryOperator of) => of switch
    {
        BinaryOperator.Add => "+",
        BinaryOperator.Subtract => "-",
        BinaryOperator.Multiply => "*",
        BinaryOperator.Divide => "/",
        BinaryOperator.Remainder => "%",
        BinaryOperator.And => "&",
        BinaryOperator.Or => "|",
        BinaryOperator.Xor => "^",
        BinaryOperator.ShiftLeft => "<<",
        BinaryOperator.ShiftRight => ">>",
        BinaryOperator.ShiftRightLogical => ">>>",
        BinaryOperator.BothOf => "&&",
        BinaryOperator.EitherOf => "||",
        BinaryOperator.Equal => "==",
        BinaryOperator.NotEqual => "!=",
        BinaryOperator.Less => "<",
        BinaryOperator.LessOrEqual => "<=",
        BinaryOperator.Greater => ">",
        _ => ">=",
    };

    public static string Operator(UnaryOperator of) => of switch
    {
        UnaryOperator.Negate => "-",
        UnaryOperator.Complement => "~",
        _ => "!",
    };

    /// <summary>The float of a literal.</summary>
    public static float Float(RuleLiteral literal) => BitConverter.ToSingle(BitConverter.GetBytes(literal.Bits), 0);

    /// <summary>A finite float that reads back to the same bits.</summary>
    public static string Finite(float value)
    {
        string text = value.ToString("R", CultureInfo.InvariantCulture);
        // Older runtimes drop the sign of zero and may lose the last bit.
        if (value == 0)
            text = 1 / value < 0 ? "-0" : "0";
        else if (float.Parse(text, CultureInfo.InvariantCulture) != value)
            text = value.ToString("G9", CultureInfo.InvariantCulture);
        return (text.IndexOfAny(['.', 'E']) >= 0 ? text : text + ".0") + "f";
    }

    /// <summary>An int; the least one has no literal of its own.</summary>
    public static string Int(int value) => value == int.MinValue ? "(-2147483647 - 1)" : value.ToString(CultureInfo.InvariantCulture);
}
