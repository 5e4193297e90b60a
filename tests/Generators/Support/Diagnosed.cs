using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests;

/// <summary>A declaration in which <c>«...»</c> marks where a diagnostic belongs.</summary>
internal static class Diagnosed
{
    /// <summary>The text without its marks, and the text between them.</summary>
    public static (string Source, string Marked) Split(string text)
    {
        int begin = text.IndexOf('«');
        int end = text.IndexOf('»');
        Assert.True(begin >= 0 && end > begin, "The declaration marks no place.");
        return (text.Remove(end, 1).Remove(begin, 1), text[(begin + 1)..end]);
    }

    /// <summary>Exactly this rule is broken, once, at the marked place.</summary>
    public static void Matches(string id, string marked, IEnumerable<Diagnostic> diagnostics, Compilation compilation)
    {
        Diagnostic only = Assert.Single(diagnostics);
        Assert.Equal(id, only.Id);
        Assert.Equal(DiagnosticSeverity.Error, only.Severity);
        string source = compilation.SyntaxTrees.Single(t => t.FilePath == only.Location.GetLineSpan().Path).ToString();
        Assert.Equal(marked, source.Substring(only.Location.SourceSpan.Start, only.Location.SourceSpan.Length));
        Assert.DoesNotContain("{", only.GetMessage(), StringComparison.Ordinal);
    }
}
