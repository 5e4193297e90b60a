using System.Globalization;
using System.Text;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Testing;

namespace AttnCompose.Generators.Tests.Pairs;

/// <summary>
/// `verify` has every pair of values that the generator admits: of token selectors, scores, budgets, head scopes, block selectors,
/// block sizes, kernels, modifiers and masks. What it refuses is listed, with the diagnostic that says why.
/// </summary>
public sealed class PairTests
{
    private const string File = "tests/Conformance/Pairs/PairPipelines.cs";
    private const string Page = "docs/pairs.md";

    private static bool Accepts => Environment.GetEnvironmentVariable("ATTNCOMPOSE_ACCEPT") == "1";

    private static string[] Ready => [.. Directory.GetFiles(Repository.PathOf("src/Pipelines/Ready"), "*.cs")
        .Select(System.IO.File.ReadAllText).Where(text => text.Contains("[AttentionPipeline", StringComparison.Ordinal))];

    [Fact]
    public void Every_admitted_pair_is_in_a_pipeline_that_verify_runs()
    {
        IEnumerable<Choice> ready = PairArray.Declared(Ready).Select(pipeline => pipeline.Choice);
        string path = Path.Combine(Repository.Root, File);
        Choice[] declared = System.IO.File.Exists(path)
            ? [.. PairArray.Declared(System.IO.File.ReadAllText(path)).Select(pipeline => pipeline.Choice)]
            : [];
        HashSet<Pair> missing = PairArray.Missing(ready.Concat(declared));
        if (Accepts && missing.Count > 0)
        {
            declared = [.. declared, .. PairArray.Complete(missing)];
            System.IO.File.WriteAllText(path, TextOf(declared));
        }
        Assert.True(missing.Count == 0, $"""
            {missing.Count} pairs that the generator admits are in no pipeline of `verify`; ATTNCOMPOSE_ACCEPT=1 declares some that have them:
            {string.Join("\n", missing.Take(40))}
            """);
        Assert.Equal(TextOf(declared), System.IO.File.ReadAllText(path));
    }

    [Fact]
    public void Every_declaration_is_admitted()
    {
        string text = System.IO.File.ReadAllText(Repository.PathOf(File));
        string?[] declarations = [.. PairArray.Declared(text).Select(pipeline => pipeline.Choice.Declaration(pipeline.Name))];
        Assert.All(Admission.Judge(declarations), Assert.Empty);
    }

    [Fact]
    public void A_declaration_reads_back_as_what_was_chosen()
    {
        foreach (Choice choice in Factors.Bases)
        {
            (_, Choice read) = Assert.Single(PairArray.Declared(choice.Declaration("P")!));
            Assert.Equal(Admission.PairsOf(choice), Admission.PairsOf(read));
        }
    }

    [Theory]
    [InlineData(Factors.Blocks, "AntiDiagonal", Factors.Modifier, "Distance", "ATTN0034")]
    [InlineData(Factors.Blocks, "AntiDiagonal", Factors.Modifier, "Sink", "")]
    [InlineData(Factors.Blocks, "VerticalSlash", Factors.Modifier, "Distance", "")]
    [InlineData(Factors.Blocks, "VerticalSlash", Factors.Kernel, "FlashAttention", "ATTN0040")]
    [InlineData(Factors.Tokens, "TokenCoverage", Factors.Budget, "TopP", "ATTN0050")]
    [InlineData(Factors.Tokens, "Accumulated", Factors.Decompress, "none", "ATTN0014")]
    [InlineData(Factors.Tokens, "TokenCoverage", Factors.Blocks, "FlexPrefill", "")]
    public void The_generator_was_asked(int a, string first, int b, string second, string said) =>
        Assert.Equal(said, Admission.Refused.GetValueOrDefault(new Pair(a, first, b, second), ""));

    [Fact]
    public void Refused_pairs_are_listed_with_their_reasons()
    {
        string path = Path.Combine(Repository.Root, Page);
        string page = PageOf();
        if (Accepts)
            System.IO.File.WriteAllText(path, page);
        Assert.Equal(page, System.IO.File.ReadAllText(path));
    }

    private static string TextOf(IReadOnlyList<Choice> choices)
    {
        string[] names = [.. choices.Select((_, i) => string.Create(CultureInfo.InvariantCulture, $"Pair{i + 1:00}"))];
        var text = new StringBuilder($$"""
            // Written by tests/Generators/Pairs: every pair of stages, head scope, block size, modifier and mask that the generator admits is
            // in one of these or in a ready pipeline. What none has fails there, and ATTNCOMPOSE_ACCEPT=1 adds what is missing.
            namespace AttnCompose.Conformance;

            internal static class PairPipelines
            {
                public static IReadOnlyList<PipelineDescriptor> All { get; } =
                [

            """);
        foreach (string[] line in names.Chunk(6))
            text.Append($"        {string.Join(" ", line.Select(name => $"{name}.Descriptor,"))}\n");
        text.Append("    ];\n}\n");
        foreach ((Choice choice, string name) in choices.Zip(names))
            text.Append('\n').Append(choice.Declaration(name));
        return text.ToString();
    }

    private static string PageOf()
    {
        var text = new StringBuilder("""
            # What goes with what

            Of each two stages, head scopes, block sizes, modifiers and masks the generator was asked whether a pipeline can have both.
            `attncompose verify --suite pairs` runs every pair that it admits, on the CPU and on the GPU, against arithmetic in double. The pairs
            that it refuses are these; `C#` stands for what a stage has no property for. tests/Generators/Pairs writes this page.

            | What is decided | Values |
            |---|---|

            """);
        foreach (Factor factor in Factors.All)
            text.Append($"| {factor.Name} | {string.Join(", ", factor.Values)} |\n");
        foreach (IGrouping<string, KeyValuePair<Pair, string>> reason in
            Admission.Refused.GroupBy(refused => refused.Value).OrderBy(group => group.Key, StringComparer.Ordinal))
        {
            text.Append($"\n## {string.Join(", ", reason.Key.Split(' ').Select(TitleOf).Distinct())}\n\n");
            foreach (IGrouping<(int, string, int), Pair> pairs in reason.Select(refused => refused.Key).GroupBy(pair => (pair.A, pair.First, pair.B)))
            {
                (int a, string first, int b) = pairs.Key;
                text.Append($"- {Factors.All[a].Name} {first}: {Factors.All[b].Name} {string.Join(", ", pairs.Select(pair => pair.Second))}\n");
            }
        }
        return text.ToString();

        static string TitleOf(string id) => id.StartsWith("ATTN", StringComparison.Ordinal)
            ? $"[{id}](diagnostics/{id}.md): {DiagnosticDescriptors.ById(id).Title}"
            : "C#: there is no such property";
    }
}
