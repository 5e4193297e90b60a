using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace AttnCompose.Generators.Tests.Fuzzing;

/// <summary>Damages a text token by token, as a person in the middle of an edit does.</summary>
internal static class TokenMutator
{
    private static readonly string[] s_strays =
    [
        "{", "}", "[", "]", "(", ")", "<", ">", ",", ";", ":", "=", ".", "\"", "/*", "//", "#if X", "class", "partial", "record", "static", "file",
        "namespace", "public", "new", "null", "default", "123456789012345678901234567890", "1e999", "-", "@", "名", "\u0000", "global::", "T", "<T>",
        "[AttentionPipeline]", "[TestAttend]", "AttentionPipeline", "typeof(void)", "\"\"\"", "$\"{x}\"", "async", "where",
    ];

    /// <summary>The text after a few mutations.</summary>
    public static string Mutate(string text, Random random)
    {
        List<string> tokens = [.. SyntaxFactory.ParseTokens(text, options: Compiler.ParseOptions).Select(t => t.ToFullString())];
        for (int i = random.Next(1, 4); i > 0 && tokens.Count > 1; i--)
        {
            int at = random.Next(tokens.Count);
            int other = random.Next(tokens.Count);
            switch (random.Next(6))
            {
                case 0: tokens.RemoveAt(at); break;
                case 1: tokens.Insert(at, tokens[at]); break;
                case 2: (tokens[at], tokens[other]) = (tokens[other], tokens[at]); break;
                case 3: tokens[at] = tokens[other]; break;
                case 4: tokens.Insert(at, $" {s_strays[random.Next(s_strays.Length)]} "); break;
                default: tokens.RemoveRange(Math.Min(at, other), Math.Min(8, Math.Abs(at - other))); break;
            }
        }
        return string.Concat(tokens);
    }
}
