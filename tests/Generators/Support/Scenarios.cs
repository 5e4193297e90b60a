using System.Collections.Immutable;
using System.Runtime.Loader;
using AttnCompose.Testing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Generators.Tests;

/// <summary>
/// Declarations on disk: the ready pipelines, those of the samples, and those of the Scenarios folder. A pipeline goes by the name of
/// its file, and by that of its class where the file has more.
/// </summary>
internal static class Scenarios
{
    // What an SDK project's implicit usings give the declarations.
    private const string Usings = "using System;\nusing System.Linq;\n";

    private static readonly Dictionary<string, string> s_texts = Find();

    public static IEnumerable<string> Names => s_texts.Keys.Order(StringComparer.Ordinal);

    public static string Text(string name) => s_texts[name];

    public static CSharpCompilation Compile(string name) => Compiler.Compile(Usings + Text(name));

    /// <summary>A declaration and what it became.</summary>
    public static Compilation Generate(string name)
    {
        Compilation generated = Compiler.GenerateInto(Compile(name), out ImmutableArray<Diagnostic> diagnostics);
        Assert.Empty(diagnostics);
        return generated;
    }

    /// <summary>The generated type, loaded. It stays until the test run ends.</summary>
    public static Type Load(string name)
    {
        Compilation compilation = Generate(name);
        var context = new AssemblyLoadContext(name);
        context.Resolving += (loading, wanted) =>
            Compiler.StageImages.TryGetValue(wanted.Name!, out ImmutableArray<byte> image) ? loading.LoadFromStream(Stream(image)) : null;
        return context.LoadFromStream(Stream(Compiler.Emit(compilation))).GetTypes().Single(t => t.GetProperty("Plan") is not null);
    }

    /// <summary>Text of the generated file of a kind, such as <c>Launch</c>.</summary>
    public static string SourceOf(string name, string kind) =>
        Compiler.Generate(Compile(name)).GeneratedTrees
            .Single(tree => tree.FilePath.EndsWith($".{kind}.g.cs", StringComparison.Ordinal)).ToString();

    private static MemoryStream Stream(ImmutableArray<byte> image) => new([.. image]);

    private static Dictionary<string, string> Find() =>
        ((string[])["tests/Generators/Scenarios", "src/Pipelines/Ready", "samples"])
            .SelectMany(folder => Directory.GetFiles(Repository.PathOf(folder), "*.cs", SearchOption.AllDirectories))
            .SelectMany(Declarations).ToDictionary();

    // Of each pipeline of a file its name and, where the file has more than this one, the class alone.
    private static IEnumerable<KeyValuePair<string, string>> Declarations(string file)
    {
        string text = File.ReadAllText(file);
        var root = (CompilationUnitSyntax)Compiler.Parse(text, file).GetRoot();
        TypeDeclarationSyntax[] pipelines = [.. root.DescendantNodes().OfType<TypeDeclarationSyntax>()
            .Where(type => type.AttributeLists.SelectMany(list => list.Attributes).Any(a => a.Name.ToString() == "AttentionPipeline"))];
        bool isWhole = pipelines.Length == 1 && !root.Members.Any(member => member is GlobalStatementSyntax);
        string space = string.Concat(root.Members.OfType<FileScopedNamespaceDeclarationSyntax>().Select(n => $"namespace {n.Name};\n"));
        return pipelines.Select(type => KeyValuePair.Create(
            isWhole ? Path.GetFileNameWithoutExtension(file) : type.Identifier.ValueText,
            isWhole ? text : root.Usings.ToFullString() + space + type.ToFullString()));
    }
}
