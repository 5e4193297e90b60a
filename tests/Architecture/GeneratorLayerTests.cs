using AttnCompose.Testing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Architecture;

/// <summary>
/// The generator's layers point one way, and Roslyn stays at its edge: what a declaration means and becomes is decided on
/// values, so it can be cached and tested without a compiler. Every name in src/Generators is bound and its layer looked up.
/// </summary>
public sealed class GeneratorLayerTests
{
    private const string Root = "AttnCompose.Generators";

    /// <summary>What each folder may use besides itself. A folder that is not listed here fails.</summary>
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Support"] = [],
        ["Diagnostics"] = ["Support", "Roslyn"],
        ["Model"] = ["Support"],
        ["Parsing"] = ["Support", "Diagnostics", "Model", "Roslyn"],
        ["Ir"] = ["Support", "Model", "Translation"],
        ["Plan"] = ["Support", "Model", "Ir"],
        ["Translation"] = ["Support", "Model"],
        ["Lowering"] = ["Support", "Model", "Ir", "Plan"],
        ["Emit"] = ["Support", "Model", "Ir", "Plan", "Translation"],
        [Analyzers] = ["Support", "Diagnostics", "Model", "Parsing", "Roslyn"],
    };

    /// <summary>An analyzer stands at the edge, as the generator class does, whatever folder it lies in.</summary>
    private const string Analyzers = "*Analyzer.cs";

    private static readonly Lazy<IReadOnlyList<string>> Uses = new(FindUses);

    [Fact]
    public void Every_folder_is_a_layer()
    {
        string[] folders = [.. Files.Under("src/Generators", ".cs")
            .Select(file => Path.GetRelativePath(Repository.PathOf("src/Generators"), file).Replace('\\', '/'))
            .Where(file => file.Contains('/'))
            .Select(file => file.Split('/')[0])
            .Distinct()];
        Assert.All((string[])["Parsing", "Model", "Ir", "Lowering", "Plan", "Emit", "Diagnostics"], layer => Assert.Contains(layer, folders));
        Assert.All(folders, folder => Assert.Contains(folder, Allowed.Keys));
    }

    [Fact]
    public void Layers_point_one_way_and_only_Parsing_and_Diagnostics_use_Roslyn() => Assert.Empty(Uses.Value);

    private static List<string> FindUses()
    {
        CSharpCompilation compilation = Compile();
        var found = new List<string>();
        foreach (SyntaxTree tree in compilation.SyntaxTrees)
        {
            string[] parts = Path.GetRelativePath(Repository.PathOf("src/Generators"), tree.FilePath).Split('/', '\\');
            if (parts.Length < 2)
                continue;
            string layer = parts[^1].EndsWith(Analyzers[1..], StringComparison.Ordinal) ? Analyzers : parts[0];
            if (!Allowed.TryGetValue(layer, out string[]? allowed))
                continue;
            SemanticModel model = compilation.GetSemanticModel(tree);
            foreach (SimpleNameSyntax name in tree.GetRoot().DescendantNodes().OfType<SimpleNameSyntax>())
            {
                string? used = LayerOf(model.GetSymbolInfo(name).Symbol);
                if (used is not null && used != layer && !allowed.Contains(used))
                    found.Add($"{string.Join('/', parts)}:{tree.GetLineSpan(name.Span).StartLinePosition.Line + 1} uses {name} of {used}");
            }
        }
        return found;
    }

    private static string? LayerOf(ISymbol? symbol)
    {
        if (symbol is null or INamespaceSymbol { IsGlobalNamespace: true })
            return null;
        string space = (symbol as INamespaceSymbol ?? symbol.ContainingNamespace)?.ToDisplayString() ?? "";
        if (space == "Microsoft.CodeAnalysis" || space.StartsWith("Microsoft.CodeAnalysis.", StringComparison.Ordinal))
            return "Roslyn";
        return space.StartsWith(Root + ".", StringComparison.Ordinal) ? space[(Root.Length + 1)..].Split('.')[0] : null;
    }

    private static CSharpCompilation Compile()
    {
        var options = new CSharpParseOptions(LanguageVersion.Preview);
        IEnumerable<SyntaxTree> trees = Files.Under("src/Generators", ".cs").Concat(Files.Under("src/Abstractions/Shared", ".cs"))
            .Select(file => CSharpSyntaxTree.ParseText(File.ReadAllText(file), options, file));
        CSharpCompilation compilation = CSharpCompilation.Create(
            "Layers", trees, PlatformAssemblies.References, new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, nullableContextOptions: NullableContextOptions.Enable));
        // A name that does not bind has no layer: the rules would hold of nothing.
        Assert.Empty(compilation.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error));
        return compilation;
    }
}
