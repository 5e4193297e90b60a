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

    private const string Declaration = """
        ```csharp
        using AttnCompose;

        [AttentionPipeline(Mask = AttentionMask.Causal)]
        [TokenCoverage(Coverage = 0.02)]
        [GatherTokens]
        [FlashAttention]
        [ScatterTokens]
        public sealed partial class Mine;
        ```

        """;

    [Fact]
    public void Every_block_compiles()
    {
        (int blocks, string[] errors) = Check(File.ReadAllText(Repository.PathOf("README.md")));
        Assert.True(errors.Length == 0, string.Join('\n', errors));
        Assert.True(blocks > 0, "README.md shows no code.");
    }

    [Fact]
    public void A_program_may_use_what_was_declared_before_it()
    {
        const string Program = """
            ```csharp
            using AttnCompose;

            using var device = AttentionDevice.Cpu();
            using var mine = Mine.Create(device, new() { Coverage = 0.1 });
            Console.WriteLine(Mine.Plan);
            ```

            """;
        (int blocks, string[] errors) = Check(Declaration + Program);
        Assert.Empty(errors);
        Assert.Equal(2, blocks);
    }

    [Theory]
    [InlineData("```csharp\nusing var mine = Mine.Create(null!, new() { Coverages = 0.1 });\n```\n", "Coverages")]
    [InlineData("```csharp\n[AttnCompose.AttentionPipeline]\npublic sealed partial class Empty;\n```\n", "ATTN0010")]
    public void A_block_that_does_not_compile_is_found(string block, string said) =>
        Assert.Contains(Check(Declaration + block).Errors, error => error.Contains(said, StringComparison.Ordinal));

    private static (int Blocks, string[] Errors) Check(string markdown)
    {
        Match[] blocks = [.. Block().Matches(markdown).Cast<Match>()];
        var declarations = new List<SyntaxTree>();
        var errors = new List<string>();
        foreach (Match block in blocks)
        {
            // Roslyn 4.14, the generator's floor, does not read extension members as C# 14 writes them: by their full name it does.
            string code = block.Groups["code"].Value.Replace("AttentionDevice.Cuda(", "CudaAttentionDevice.Cuda(", StringComparison.Ordinal);
            SyntaxTree tree = CSharpSyntaxTree.ParseText(code, Options, "README.md");
            bool isProgram = tree.GetCompilationUnitRoot().Members.OfType<GlobalStatementSyntax>().Any();
            errors.AddRange(Errors([.. declarations, tree], isProgram).Select(error => $"{error}\nin:\n{block.Groups["code"].Value}"));
            if (!isProgram)
                declarations.Add(tree);
        }
        return (blocks.Length, [.. errors]);
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
