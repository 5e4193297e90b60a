using System.Text;

namespace AttnCompose.Generators.Support;

/// <summary>The spellings of one name: C# Pascal case, command-line kebab case, CUDA snake case.</summary>
internal static class Names
{
    /// <summary><c>TokenSparsePrefill</c> becomes <c>token-sparse-prefill</c>.</summary>
    public static string Kebab(string pascal) => Split(pascal, '-');

    /// <summary><c>MinTokens</c> becomes <c>min_tokens</c>.</summary>
    public static string Snake(string pascal) => Split(pascal, '_');

    /// <summary><c>row_stats</c> becomes <c>RowStats</c>.</summary>
    public static string Pascal(string snake)
    {
        var text = new StringBuilder(snake.Length);
        bool upper = true;
        foreach (char c in snake)
        {
            if (c == '_')
            {
                upper = true;
                continue;
            }
            text.Append(upper ? char.ToUpperInvariant(c) : c);
            upper = false;
        }
        return text.ToString();
    }

    /// <summary><c>TokenCoverage</c> becomes <c>tokenCoverage</c>.</summary>
    public static string Camel(string pascal) =>
        pascal.Length == 0 ? pascal : char.ToLowerInvariant(pascal[0]) + pascal.Substring(1);

    private static string Split(string pascal, char separator)
    {
        var text = new StringBuilder(pascal.Length + 8);
        for (int i = 0; i < pascal.Length; i++)
        {
            char c = pascal[i];
            // A word begins at an upper-case letter after a lower-case one or a digit, and at the last capital of an acronym.
            bool begins = char.IsUpper(c) && i > 0 && pascal[i - 1] != '_'
                && (!char.IsUpper(pascal[i - 1]) || (i + 1 < pascal.Length && char.IsLower(pascal[i + 1])));
            if (begins)
                text.Append(separator);
            text.Append(c == '_' ? separator : char.ToLowerInvariant(c));
        }
        return text.ToString();
    }
}
