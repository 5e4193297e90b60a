using System.Collections.Immutable;
using System.Runtime.Loader;
using AttnCompose.Testing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace AttnCompose.Generators.Tests;

/// <summary>Declarations on disk: the ready pipelines, and those of the Scenarios folder.</summary>
internal static class Scenarios
{
    // What an SDK project's implicit usings give the declarations.
    private const string Usings = "using System;\n";

    private static readonly Dictionary<string, string> s_files = Find();

    public static IEnumerable<string> Names => s_files.Keys.Order(StringComparer.Ordinal);

    public static string Text(string name) => File.ReadAllText(s_files[name]);

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
            wanted.Name == Compiler.TestStages.AssemblyName ? loading.LoadFromStream(Stream(Compiler.TestStagesImage)) : null;
        return context.LoadFromStream(Stream(Compiler.Emit(compilation))).GetTypes().Single(t => t.GetProperty("Plan") is not null);
    }

    /// <summary>Text of the generated file of a kind, such as <c>Launch</c>.</summary>
    public static string SourceOf(string name, string kind) =>
        Compiler.Generate(Compile(name)).GeneratedTrees
            .Single(tree => tree.FilePath.EndsWith($".{kind}.g.cs", StringComparison.Ordinal)).ToString();

    private static MemoryStream Stream(ImmutableArray<byte> image) => new([.. image]);

    private static Dictionary<string, string> Find() =>
        Directory.GetFiles(Repository.PathOf("tests/Generators/Scenarios"), "*.cs")
            .Concat(Directory.GetFiles(Repository.PathOf("src/Pipelines/Ready"), "*.cs")
                .Where(file => File.ReadAllText(file).Contains("[AttentionPipeline", StringComparison.Ordinal)))
            .ToDictionary(file => Path.GetFileNameWithoutExtension(file));
}
