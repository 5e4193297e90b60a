using System.Globalization;
using System.Linq;

namespace AttnCompose.Generators.Emit;

/// <summary>Values as C# and CUDA text.</summary>
internal static class Literals
{
    /// <summary>A parameter value as a C# or CUDA literal; the two spell numbers alike.</summary>
    public static string Number(string type, double value) => type switch
    {
        "bool" => value != 0 ? "true" : "false",
        "int" => ((int)value).ToString(CultureInfo.InvariantCulture),
        "float" => Real(((float)value).ToString("R", CultureInfo.InvariantCulture)) + "f",
        _ => Real(value.ToString("R", CultureInfo.InvariantCulture)),
    };

    /// <summary>A double in C#, infinities included.</summary>
    public static string CSharpDouble(double value) =>
        double.IsNaN(value) ? "double.NaN"
        : double.IsPositiveInfinity(value) ? "double.PositiveInfinity"
        : double.IsNegativeInfinity(value) ? "double.NegativeInfinity"
        : value.ToString("R", CultureInfo.InvariantCulture);

    /// <summary>A C# string literal.</summary>
    public static string CSharpString(string text) =>
        "\"" + string.Concat(text.Select(c => c switch
        {
            '"' => "\\\"",
            '\\' => "\\\\",
            // Line ends of Unicode end a C# literal too.
            _ when char.IsControl(c) || c is '\u2028' or '\u2029' => "\\u" + ((int)c).ToString("x4", CultureInfo.InvariantCulture),
            _ => c.ToString(),
        })) + "\"";

    /// <summary>Text that ends up in a comment: never ends the comment's line.</summary>
    public static string Comment(string text) => text.Replace('\r', ' ').Replace('\n', ' ').Replace('\\', '/');

    /// <summary>Text that ends up in a documentation comment.</summary>
    public static string Xml(string text) => Comment(text).Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;");

    private static string Real(string digits) => digits.IndexOfAny(['.', 'E', 'e']) >= 0 ? digits : digits + ".0";
}
