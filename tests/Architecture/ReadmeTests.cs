using System.Text.RegularExpressions;
using AttnCompose.Testing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Architecture;

/// <summary>
/// The code of README.md compiles, generator included. A block of declarations may be used by the blocks after it; a block
/// with statements is a program.
/// </summary>
public sealed partial class ReadmeTests
{
    private static readonly CSharpParseOptions Options = new(LanguageVersion.Preview);

    private static readonly string ImplicitUsings = string.Concat(
        ((string[])["System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Threading", "System.Threading.Tasks"])
        .Select(space => $"global using {space};\n"));

    [Fact]
    public void Every_block_compiles()
    {
        string readme = File.ReadAllText(Repository.PathOf("README.md"));
        Match[] blocks = [.. Block().Matches(readme).Cast<Match>()];
        Assert.NotEmpty(blocks);
        var declarations = new List<SyntaxTree>();
        foreach (Match block in blocks)
        {
            SyntaxTree tree = CSharpSyntaxTree.ParseText(block.Groups["code"].Value, Options, "README.md");
            bool isProgram = tree.GetCompilationUnitRoot().Members.OfType<GlobalStatementSyntax>().Any();
            string[] errors = Errors([.. declarations, tree], isProgram);
            Assert.True(errors.Length == 0, $"{string.Join('\n', errors)}\nin:\n{block.Groups["code"].Value}");
            if (!isProgram)
                declarations.Add(tree);
        }
    }

    private static string[] Errors(SyntaxTree[] trees, bool isProgram)
    {
        var compilation = CSharpCompilation.Create(
            "Readme",
            [CSharpSyntaxTree.ParseText(ImplicitUsings, Options), .. trees],
            PlatformAssemblies.References,
            new CSharpCompilationOptions(
                isProgram ? OutputKind.ConsoleApplication : OutputKind.DynamicallyLinkedLibrary,
                allowUnsafe: true,
                nullableContextOptions: NullableContextOptions.Enable));
        IIncrementalGenerator generator = (IIncrementalGenerator)Activator.CreateInstance(
            System.Reflection.Assembly.Load("AttnCompose.Generators").GetTypes().Single(type => type.IsDefined(typeof(GeneratorAttribute), false)),
            nonPublic: true)!;
        CSharpGeneratorDriver.Create([generator.AsSourceGenerator()], parseOptions: Options)
            .RunGeneratorsAndUpdateCompilation(compilation, out Compilation output, out var reported);
        return [.. reported.Concat(output.GetDiagnostics())
            .Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)
            .Select(diagnostic => diagnostic.ToString())];
    }

    [GeneratedRegex("^```csharp\n(?<code>.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Block();
}
