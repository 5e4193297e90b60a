using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>A method that cannot be a token score, or has no budget, is refused where it is.</summary>
public sealed class TokenRuleDiagnosticsTests
{
    private const string Score = "[TokenScoreRule] static float R(in TokenPosition at, ReadOnlySpan<float> key";
    private const string Rest = "GatherTokens, FlashAttention, ScatterTokens] partial class P";

    // Rule, methods of a class with [FixedCount] with the place marked, and what mends them.
    public static readonly TheoryData<string, string, string> Faults = new()
    {
        { "ATTN0030", "[TokenScoreRule] float «R»(in TokenPosition at) => 0;", "[TokenScoreRule] static float R(in TokenPosition at) => 0;" },
        { "ATTN0030", "[TokenScoreRule] static bool «R»(in TokenPosition at) => true;", "[TokenScoreRule] static float R(TokenPosition at) => 1;" },
        { "ATTN0030", "[TokenScoreRule] static float «R»(in ScorePosition at) => 0;", "[TokenScoreRule] static float R(in TokenPosition at) => 0;" },
        { "ATTN0030", "[TokenScoreRule] static float «R»(ReadOnlySpan<float> key) => 0;", Score + ") => 0;" },
        { "ATTN0030", "[TokenScoreRule, ScoreModifier] static float «R»(in TokenPosition at) => 0;", "[TokenScoreRule] static float R(in TokenPosition at) => 0;" },
        { "ATTN0030", "[TokenScoreRule] static float S(in TokenPosition at) => 0; [TokenScoreRule] static float «R»(in TokenPosition at) => 0;", "static float S(in TokenPosition at) => 0; [TokenScoreRule] static float R(in TokenPosition at) => S(at);" },
        { "ATTN0030", "[ScoreModifier] static float «S»(float score, in TokenPosition at) => 0; " + Score + ") => 0;", "[ScoreModifier] static float S(float score, in ScorePosition at) => 0; " + Score + ") => 0;" },
        { "ATTN0031", Score + ", float «steep») => 0;", Score + ", float steep = 1) => steep;" },
        { "ATTN0031", Score + ", ReadOnlySpan<float> «query») => 0;", Score + ", ReadOnlySpan<float> queries) => queries[0];" },
        { "ATTN0031", "[TokenScoreRule] static float R(in TokenPosition at, ReadOnlySpan<int> «key») => 0;", Score + ", ReadOnlySpan<int> keys) => keys[at.Position];" },
        { "ATTN0031", Score + ", int «window» = 4) => 0;", Score + ", int near = 4) => near;" },
        { "ATTN0032", Score + ") => (float)(key[0] * «0.5»);", Score + ") => key[0] * 0.5f;" },
        { "ATTN0032", Score + ") => «key.Slice(1)»[0];", Score + ") => key[1];" },
        { "ATTN0032", Score + ") => «key.ToArray()».Length;", Score + ") => key.Length;" },
        { "ATTN0032", Score + ") => «MathF.Sin(key[0])»;", Score + ") => MathF.Tanh(key[0]);" },
        { "ATTN0033", Score + ") { float sum = 0; foreach (float x in «key») sum += x; return sum; }", Score + ") { float sum = 0; for (int d = 0; d < key.Length; d++) sum += key[d]; return sum; }" },
        { "ATTN0022", "[TokenScoreRule(«Window = 0»)] static float R(in TokenPosition at) => 0;", "[TokenScoreRule(Window = 1)] static float R(in TokenPosition at) => 0;" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_fault_is_reported_where_it_is(string id, string faulty, string mended) =>
        IsFault(id, Pipeline("FixedCount", faulty), Pipeline("FixedCount", mended));

    [Theory]
    [InlineData("RecentQueries, FixedCount", "RecentQueries, FixedCount, TopP")]
    [InlineData("TokenCoverage", "TokenCoverage, TopP")]
    public void A_score_needs_a_budget_that_has_none(string without, string with) => IsFault(
        "ATTN0051", Pipeline(without, "[«TokenScoreRule»] static float R(in TokenPosition at) => 0;"),
        Pipeline(with, "[TokenScoreRule] static float R(in TokenPosition at) => 0;"));

    [Theory]
    [InlineData("[AttentionPipeline, TopP, «FixedCount», " + Rest, "ATTN0052")]
    [InlineData("[AttentionPipeline, FixedRatio, TokenCoverage, «FixedCount», " + Rest, "ATTN0019 ATTN0050")]
    public void A_score_serves_one_budget(string declaration, string ids)
    {
        (string source, _) = Diagnosed.Split($"using System;\n{declaration} {{ {Score}) => 0; }}");
        Assert.Equal(ids, string.Join(' ', Compiler.Generate(Compiler.Compile(source)).Diagnostics.Select(d => d.Id).Order()));
    }

    [Fact]
    public void Rules_of_scores_and_of_tokens_share_spans_and_methods()
    {
        const string Methods = "static float Of(ReadOnlySpan<float> table, int i) => table[i]; "
            + "[ScoreModifier] static float A(float score, in ScorePosition at, ReadOnlySpan<float> own, ReadOnlySpan<float> table, float steep = 1) "
            + "=> score + own[at.Key] + Of(table, at.QueryHead) * steep; "
            + Score + ", ReadOnlySpan<float> mine, ReadOnlySpan<float> table, float steep = 2) => Of(key, 3) + Of(table, 1) + mine[at.Position] * steep;";
        Compilation generated = Compiler.GenerateInto(Compiler.Compile(Pipeline("TopP", Methods)), out var diagnostics);
        Assert.Empty(diagnostics);
        Assert.Empty(generated.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error));
        string Text(string kind) => generated.SyntaxTrees.Single(t => t.FilePath.EndsWith($".{kind}.g.cs", StringComparison.Ordinal)).ToString();
        Assert.Contains("ReadOnlySpan<float> @own, global::System.ReadOnlySpan<float> @table, global::System.ReadOnlySpan<float> @mine)", Text("Pipeline"), StringComparison.Ordinal);
        Assert.Contains("Table = cpu.RuleSpan<float>(1), Mine = cpu.RuleSpan<float>(2)", Text("Cpu"), StringComparison.Ordinal);
        Assert.Contains("launch.Pass(in launch.RuleSpan(2));", Text("Launch"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_rule_of_no_pipeline_has_no_effect() => Assert.Equal(
        "ATTN0035", Assert.Single(Compiler.Analyze(Compiler.Compile("class P { [TokenScoreRule] static float R(in TokenPosition at) => 0; }"))).Id);

    private static void IsFault(string id, string faulty, string mended)
    {
        (string source, string marked) = Diagnosed.Split(faulty);
        Compilation compilation = Compiler.Compile(source);
        Diagnosed.Matches(id, marked, Compiler.Generate(compilation).Diagnostics, compilation);
        Compilation generated = Compiler.GenerateInto(Compiler.Compile(mended), out var diagnostics);
        Assert.Empty(diagnostics);
        Assert.Empty(generated.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error));
    }

    private static string Pipeline(string stages, string methods) => $"using System;\n[AttentionPipeline, {stages}, {Rest} {{ {methods} }}";
}
