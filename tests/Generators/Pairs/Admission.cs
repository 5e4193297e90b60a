using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Pairs;

/// <summary>Two values of two factors.</summary>
internal readonly record struct Pair(int A, string First, int B, string Second)
{
    public override string ToString() =>
        $"{Factors.All[A].Name} {First} with {Factors.All[B].Name} {Second}";
}

/// <summary>Which pairs of values the generator admits, asked of the generator itself.</summary>
internal static class Admission
{
    /// <summary>The world that declarations of `verify` live in, as far as they see it.</summary>
    public const string World = """
        global using System;
        global using AttnCompose.Conformance;
        namespace AttnCompose.Conformance
        {
            internal interface IDocumentPipeline;
            internal static class RulePipelines { public const float Slope = 1, Cap = 1, FirstSink = 1, SinkStep = 1; public const int Window = 1; }
        }
        """;

    private static readonly Lazy<Dictionary<Pair, string>> s_refused = new(Ask);

    /// <summary>Pairs that no declaration can have, and the id of what is said of the one that is least wrong.</summary>
    public static IReadOnlyDictionary<Pair, string> Refused => s_refused.Value;

    /// <summary>All pairs of values.</summary>
    public static IEnumerable<Pair> Pairs =>
        from a in Enumerable.Range(0, Factors.All.Length)
        from b in Enumerable.Range(a + 1, Factors.All.Length - a - 1)
        from first in Factors.All[a].Values
        from second in Factors.All[b].Values
        select new Pair(a, first, b, second);

    /// <summary>The pairs of a choice.</summary>
    public static IEnumerable<Pair> PairsOf(Choice choice) =>
        from a in Enumerable.Range(0, Factors.All.Length)
        from b in Enumerable.Range(a + 1, Factors.All.Length - a - 1)
        where choice[a] != Factor.Void && choice[b] != Factor.Void
        select new Pair(a, choice[a], b, choice[b]);

    /// <summary>What is said of each declaration, by the compiler or the generator; nothing where it can be.</summary>
    public static string[][] Judge(IReadOnlyList<string?> declarations)
    {
        var said = new string[declarations.Count][];
        var texts = new List<string>();
        var places = new List<int>();
        for (int i = 0; i < declarations.Count; i++)
        {
            said[i] = [];
            if (declarations[i] is { } text)
            {
                texts.Add(text);
                places.Add(i);
            }
            else
            {
                said[i] = [Unwritable];
            }
        }
        Compilation compilation = Compiler.Compile([.. texts, World]);
        IEnumerable<Diagnostic> refusals = compilation.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error)
            .Concat(Compiler.Generate(compilation).Diagnostics);
        foreach (IGrouping<string, Diagnostic> file in refusals.GroupBy(d => d.Location.GetLineSpan().Path))
            said[places[int.Parse(file.Key["Source".Length..^".cs".Length])]] = [.. file.Select(IdOf).Distinct().Order()];
        return said;
    }

    private static string IdOf(Diagnostic diagnostic) =>
        diagnostic.Id.StartsWith("CS", StringComparison.Ordinal) ? Unwritable : diagnostic.Id;

    /// <summary>That C# has no way to say it.</summary>
    public const string Unwritable = "C#";

    private static Dictionary<Pair, string> Ask()
    {
        Pair[] pairs = [.. Pairs];
        var texts = new Dictionary<string, int>();
        var declarations = new List<string?>();
        int[][] tried = [.. pairs.Select(pair => Factors.Bases.Select(choice =>
        {
            string? text = choice.With((pair.A, pair.First), (pair.B, pair.Second)).Declaration("P");
            if (texts.TryGetValue(text ?? "", out int known))
                return known;
            declarations.Add(text?.Replace("class P", $"class P{declarations.Count}", StringComparison.Ordinal));
            return texts[text ?? ""] = declarations.Count - 1;
        }).ToArray())];
        string[][] said = Judge(declarations);
        var refused = new Dictionary<Pair, string>();
        for (int i = 0; i < pairs.Length; i++)
        {
            string[] least = tried[i].Select(number => said[number])
                .MinBy(ids => ids.Length == 0 ? 0 : ids.Contains(Unwritable) ? 100 : ids.Length)!;
            if (least.Length > 0)
                refused[pairs[i]] = string.Join(" ", least);
        }
        return refused;
    }
}
