using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;

namespace AttnCompose.Generators.Support;

/// <summary>The spellings of one name: C# Pascal case, command-line kebab case, CUDA snake case.</summary>
internal static class Names
{
    private static readonly HashSet<string> s_deviceWords = new((
        "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl concept const "
        + "consteval constexpr constinit const_cast continue co_await co_return co_yield decltype default delete do double "
        + "dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace new "
        + "noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires return short "
        + "signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef typeid "
        + "typename union unsigned using virtual void volatile wchar_t while xor xor_eq").Split(' '));

    /// <summary>Names that a kernel has anyway: its tensors and what every phase is given.</summary>
    public static readonly string[] Reserved =
        ["query", "key", "value", "output", "token_index", "block_list", "heads", "tensor_maps", "rule_bounds", "problem", "shared"];

    /// <summary><c>TokenSparsePrefill</c> becomes <c>token-sparse-prefill</c>.</summary>
    public static string Kebab(string pascal) => Split(pascal, '-');

    /// <summary><c>MinTokens</c> becomes <c>min_tokens</c>; a word of CUDA C++ gets a trailing underscore, as in <c>default_</c>.</summary>
    public static string Snake(string pascal)
    {
        string snake = Split(pascal, '_');
        return s_deviceWords.Contains(snake) ? snake + "_" : snake;
    }

    /// <summary>A name for PTX, which knows ASCII letters, digits and underscores: any other character becomes its code.</summary>
    public static string Device(string name)
    {
        var text = new StringBuilder(name.Length);
        foreach (char c in name)
        {
            if (c is '_' or >= 'a' and <= 'z' or >= 'A' and <= 'Z' or >= '0' and <= '9')
                text.Append(c);
            else
                text.Append(c == '-' ? "_" : "u" + ((int)c).ToString("x4", CultureInfo.InvariantCulture));
        }
        return text.ToString();
    }

    /// <summary>A name as it is spelt in C#. Every keyword, contextual ones too, is in lower case, and <c>@</c> harms no other name.</summary>
    public static string CSharp(string name) => name.All(c => c is >= 'a' and <= 'z') ? "@" + name : name;

    /// <summary><c>row_partials</c> becomes <c>RowPartials</c>.</summary>
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
