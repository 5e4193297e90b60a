using System.Collections.Concurrent;
using System.Collections.Immutable;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace AttnCompose.Generators.Tests.Fuzzing;

/// <summary>
/// Whatever the text, generator and analyzer return; and where neither the compiler nor the generator has anything against a
/// declaration, what it becomes compiles.
/// </summary>
public sealed class RobustnessTests
{
    private const int Count = 10_000;

    // Binding all that was generated takes many times longer than generating it.
    private const int CompiledOneIn = 6;

    private static readonly CSharpCompilation s_empty = Compiler.Compile();

    [Fact]
    public void Ten_thousand_mutated_declarations()
    {
        var failures = new ConcurrentBag<string>();
        int generated = 0, compiled = 0;
        Parallel.For(0, Count, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount }, seed =>
        {
            string text = Text(seed);
            try
            {
                (bool emits, bool compiles) = Check(text, seed % 3 == 0, seed % CompiledOneIn == 1);
                Interlocked.Add(ref generated, emits ? 1 : 0);
                Interlocked.Add(ref compiled, compiles ? 1 : 0);
            }
            catch (Exception e)
            {
                failures.Add($"seed {seed}: {e.Message} {e.InnerException}\n{text}");
            }
        });
        Assert.True(failures.IsEmpty, $"{failures.Count} of {Count}; the first: {failures.Order().FirstOrDefault()}");
        // The numbers are those of the seeds; they say that the declarations reach all the way.
        Assert.InRange(generated, Count / 20, Count);
        Assert.InRange(compiled, Count / CompiledOneIn / 40, Count);
    }

    private static string Text(int seed)
    {
        var random = new Random(seed);
        var writer = new DeclarationWriter(random);
        string text = seed % 3 == 0 ? writer.Stage("OwnAttribute") : writer.Pipeline();
        return random.Next(2) == 0 ? text : TokenMutator.Mutate(text, random);
    }

    private static (bool Emits, bool Compiles) Check(string text, bool isStage, bool compile)
    {
        CSharpCompilation input = s_empty.AddSyntaxTrees(Compiler.Parse(text, "Source0.cs"));
        GeneratorDriver driver = Compiler.Driver(track: false)
            .RunGeneratorsAndUpdateCompilation(input, out Compilation output, out ImmutableArray<Diagnostic> reported);
        GeneratorRunResult result = driver.GetRunResult().Results.Single();
        if (result.Exception is not null)
            throw new InvalidOperationException("The generator threw.", result.Exception);
        if (isStage && Compiler.Analyze(input, "own.cuh").FirstOrDefault(d => d.Id == "AD0001") is { } thrown)
            throw new InvalidOperationException(thrown.ToString());
        bool emits = result.GeneratedSources.Length > 0;
        if (!compile || !emits || reported.Length > 0)
            return (emits, false);
        List<Diagnostic> wrong = [.. output.GetDiagnostics().Where(IsOfGeneratedCode)];
        bool sound = !input.GetDiagnostics().Any(d => d.Severity == DiagnosticSeverity.Error);
        if (sound && wrong.Count > 0)
            throw new InvalidOperationException($"Generated code does not compile: {wrong[0]}");
        return (emits, sound);
    }

    // A global type of the name of a namespace (CS0437) is warned of wherever that name is used.
    private static bool IsOfGeneratedCode(Diagnostic diagnostic) =>
        diagnostic.Severity == DiagnosticSeverity.Error
        || (diagnostic.Severity == DiagnosticSeverity.Warning && diagnostic.Id != "CS0437"
            && diagnostic.Location.GetLineSpan().Path.EndsWith(".g.cs", StringComparison.Ordinal));
}
