using AttnCompose.Generators.Parsing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Generators.Tests;

/// <summary>The generated C# as code: clean at the highest warning level, without reflection, the same every time.</summary>
public sealed class GeneratedCodeTests
{
    public static readonly TheoryData<string> Names = [.. Scenarios.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void It_compiles_without_a_warning(string scenario) =>
        Assert.Empty(Scenarios.Generate(scenario).GetDiagnostics().Where(d => d.Severity >= DiagnosticSeverity.Warning
            && d.Location.GetLineSpan().Path.EndsWith(".g.cs", StringComparison.Ordinal)
            // A ready pipeline is in the referenced library too, from which its copy here takes the name.
            && d.Id != "CS0436"));

    [Theory]
    [MemberData(nameof(Names))]
    public void It_uses_no_reflection(string scenario)
    {
        Compilation compilation = Scenarios.Generate(scenario);
        foreach (SyntaxTree tree in Generated(compilation))
        {
            SemanticModel model = compilation.GetSemanticModel(tree);
            foreach (ExpressionSyntax node in tree.GetRoot().DescendantNodes().OfType<ExpressionSyntax>())
            {
                ISymbol? symbol = model.GetSymbolInfo(node).Symbol;
                string type = (symbol as INamedTypeSymbol ?? symbol?.ContainingType)?.ToDisplayString() ?? "";
                // typeof(Stage).Assembly is where a stage's headers are embedded; trimming keeps both.
                bool isHeaderAssembly = node is MemberAccessExpressionSyntax { Name.Identifier.ValueText: "Assembly", Expression: TypeOfExpressionSyntax };
                Assert.False(
                    !isHeaderAssembly && !(node.Parent is MemberAccessExpressionSyntax { Name.Identifier.ValueText: "Assembly" } && node is IdentifierNameSyntax)
                    && (type.StartsWith("System.Reflection", StringComparison.Ordinal) || type is "System.Type" or "System.Activator" || symbol?.Name == "GetType"),
                    $"{node} of {tree.FilePath} is reflection.");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void It_is_the_same_every_time(string scenario) =>
        Assert.Equal(Texts(Scenarios.Compile(scenario)), Texts(Scenarios.Compile(scenario)));

    [Fact]
    public void The_order_of_files_does_not_matter()
    {
        string[] sources = [.. Scenarios.Names.Select(name => "using System;\n" + Scenarios.Text(name))];
        string[] expected = [.. Texts(Compiler.Compile(sources)).Order(StringComparer.Ordinal)];
        var random = new Random(7);
        for (int i = 0; i < 3; i++)
        {
            random.Shuffle(sources);
            Assert.Equal(expected, Texts(Compiler.Compile(sources)).Order(StringComparer.Ordinal));
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Its_members_have_names_that_a_declaration_may_not_take(string scenario)
    {
        Compilation compilation = Scenarios.Generate(scenario);
        ClassDeclarationSyntax part = Generated(compilation).First().GetRoot().DescendantNodes().OfType<ClassDeclarationSyntax>()
            .First(c => c.BaseList is not null);
        INamedTypeSymbol type = compilation.GetSemanticModel(part.SyntaxTree).GetDeclaredSymbol(part)!;
        IEnumerable<string> stages = Texts(Scenarios.Compile(scenario)).SelectMany(text =>
            text.Split('\n').Where(line => line.Contains("Attribute _", StringComparison.Ordinal)).Select(line => line.Trim().Split(' ')[^1].TrimEnd(';')));
        IEnumerable<string> added = type.GetMembers()
            .Where(m => m.CanBeReferencedByName && m.DeclaringSyntaxReferences.Any(r => r.SyntaxTree.FilePath.EndsWith(".g.cs", StringComparison.Ordinal)))
            .Where(m => m is not IMethodSymbol { MethodKind: not MethodKind.Ordinary })
            .Select(m => m.Name);
        Assert.Empty(added.Except(stages).Except(PipelineParser.GeneratedMembers));
    }

    [Fact]
    public void Line_ends_are_lf_and_lines_end_without_blanks() =>
        Assert.All(Scenarios.Names.SelectMany(name => Texts(Scenarios.Compile(name))), text =>
        {
            Assert.DoesNotContain('\r', text);
            Assert.DoesNotContain('\t', text);
            Assert.DoesNotContain(" \n", text, StringComparison.Ordinal);
            Assert.EndsWith("}\n", text, StringComparison.Ordinal);
        });

    [Fact]
    public void Every_known_type_name_resolves()
    {
        CSharpCompilation compilation = Compiler.Compile();
        foreach (System.Reflection.FieldInfo field in typeof(KnownTypeNames).GetFields())
        {
            var name = (string)field.GetRawConstantValue()!;
            INamedTypeSymbol? type = compilation.GetTypeByMetadataName(name);
            Assert.True(type is not null, $"{field.Name} = {name} is no type.");
            Assert.Equal("AttnCompose.Abstractions", type.ContainingAssembly.Name);
        }
    }

    private static IEnumerable<SyntaxTree> Generated(Compilation compilation) =>
        compilation.SyntaxTrees.Where(tree => tree.FilePath.EndsWith(".g.cs", StringComparison.Ordinal));

    private static IEnumerable<string> Texts(CSharpCompilation compilation) =>
        Compiler.Generate(compilation).GeneratedTrees.Select(tree => tree.ToString());
}
