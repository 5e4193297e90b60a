using System.Collections.Immutable;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Testing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Diagnostics;
using Microsoft.CodeAnalysis.Emit;
using Microsoft.CodeAnalysis.Text;

namespace AttnCompose.Generators.Tests;

/// <summary>The C# compiler in memory: source text in; diagnostics, generated files and assemblies out.</summary>
internal static class Compiler
{
    // Static extension members (AttentionDevice.Cuda) are C# 14, which this Roslyn calls preview.
    public static readonly CSharpParseOptions ParseOptions = new(LanguageVersion.Preview, DocumentationMode.Diagnose);

    private const string GlobalUsings = """
        global using AttnCompose;
        global using AttnCompose.Cpu;
        global using AttnCompose.TestStages;
        """;

    private static readonly CSharpCompilationOptions s_options = new(
        OutputKind.DynamicallyLinkedLibrary, nullableContextOptions: NullableContextOptions.Enable, warningLevel: 9999,
        optimizationLevel: OptimizationLevel.Release, allowUnsafe: true, concurrentBuild: false);

    private static readonly ImmutableArray<MetadataReference> s_libraries = Libraries();

    /// <summary>The test stages, an assembly of their own as a third party's would be.</summary>
    public static readonly CSharpCompilation TestStages = CSharpCompilation.Create(
        "AttnCompose.TestStages", [Parse(File.ReadAllText(Repository.PathOf("tests/Generators/Stages/TestStages.cs")), "TestStages.cs")],
        s_libraries, s_options);

    /// <summary>The image of <see cref="TestStages"/>.</summary>
    public static readonly ImmutableArray<byte> TestStagesImage = Emit(TestStages);

    // The stage of the samples, in the assembly that its project makes.
    private static readonly CSharpCompilation s_sampleStages = CSharpCompilation.Create(
        "CustomStage.Stages",
        [
            .. Directory.GetFiles(Repository.PathOf("samples/CustomStage/Stages"), "*.cs").Select(file => Parse(File.ReadAllText(file), file)),
            Parse("global using System; global using System.Linq;", "Usings.cs"),
        ],
        s_libraries, s_options);

    /// <summary>Assemblies of stages that declarations may use, by their names.</summary>
    public static readonly Dictionary<string, ImmutableArray<byte>> StageImages = new()
    {
        [TestStages.AssemblyName!] = TestStagesImage, [s_sampleStages.AssemblyName!] = Emit(s_sampleStages),
    };

    private static readonly CSharpCompilation s_base = CSharpCompilation.Create(
        "Declarations", [Parse(GlobalUsings, "Usings.cs")],
        [.. s_libraries, .. StageImages.Values.Select(image => MetadataReference.CreateFromImage(image))], s_options);

    /// <summary>A compilation of sources that may use the abstractions, the built-in stages and the test stages.</summary>
    public static CSharpCompilation Compile(params string[] sources) =>
        s_base.AddSyntaxTrees(sources.Select((text, i) => Parse(text, $"Source{i}.cs")).ToArray());

    public static SyntaxTree Parse(string text, string path) => CSharpSyntaxTree.ParseText(text, ParseOptions, path);

    public static GeneratorDriver Driver(bool track = true) => CSharpGeneratorDriver.Create(
        [new AttentionPipelineGenerator().AsSourceGenerator()],
        parseOptions: ParseOptions,
        driverOptions: new GeneratorDriverOptions(IncrementalGeneratorOutputKind.None, trackIncrementalGeneratorSteps: track));

    /// <summary>Runs the generator once.</summary>
    public static GeneratorDriverRunResult Generate(Compilation compilation) =>
        Driver().RunGenerators(compilation, CancellationToken.None).GetRunResult();

    /// <summary>Runs the generator and adds what it generated.</summary>
    public static Compilation GenerateInto(Compilation compilation, out ImmutableArray<Diagnostic> diagnostics)
    {
        Driver().RunGeneratorsAndUpdateCompilation(compilation, out Compilation updated, out diagnostics, CancellationToken.None);
        return updated;
    }

    /// <summary>What the stage analyzer says, with its own exceptions among it (AD0001).</summary>
    public static ImmutableArray<Diagnostic> Analyze(Compilation compilation, params string[] headers)
    {
        var options = new AnalyzerOptions(headers.Select(h => (AdditionalText)new Header(h)).ToImmutableArray());
        return compilation
            .WithAnalyzers(
                [new StageContractAnalyzer()],
                new CompilationWithAnalyzersOptions(options, onAnalyzerException: null, concurrentAnalysis: false, logAnalyzerExecutionTime: false))
            .GetAnalyzerDiagnosticsAsync(CancellationToken.None).GetAwaiter().GetResult();
    }

    /// <summary>Emits a compilation that has no errors.</summary>
    public static ImmutableArray<byte> Emit(Compilation compilation)
    {
        using var image = new MemoryStream();
        EmitResult result = compilation.Emit(image);
        Assert.True(result.Success, string.Join("\n", result.Diagnostics));
        return [.. image.ToArray()];
    }

    private static ImmutableArray<MetadataReference> Libraries()
    {
        // The platform's list holds the assemblies of the test run too.
        string trusted = (string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!;
        string[] own = ["AttnCompose.Abstractions", "AttnCompose.Cuda", "AttnCompose.Pipelines"];
        return trusted.Split(Path.PathSeparator)
            .Where(path => Path.GetFileNameWithoutExtension(path) is { } name
                && (name.StartsWith("System", StringComparison.Ordinal) || name is "netstandard" or "mscorlib" || own.Contains(name)))
            .Select(path => (MetadataReference)MetadataReference.CreateFromFile(path))
            .ToImmutableArray();
    }

    private sealed class Header(string path) : AdditionalText
    {
        public override string Path => path;

        public override SourceText GetText(CancellationToken cancellationToken = default) => SourceText.From("#pragma once\n");
    }
}
