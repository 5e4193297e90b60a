using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>What has no device form is refused at the expression, with what to write instead.</summary>
public sealed class RuleDiagnosticsTests
{
    private const string Score = "[ScoreModifier] static float R(float score, in ScorePosition at";

    // Rule, methods of a pipeline class with the place marked, and what mends them.
    public static readonly TheoryData<string, string, string> Faults = new()
    {
        { "ATTN0030", "[ScoreModifier] float «R»(float score, in ScorePosition at) => score;", Score + ") => score;" },
        { "ATTN0030", "[ScoreModifier] static double «R»(float score, in ScorePosition at) => score;", Score + ") => score;" },
        { "ATTN0030", "[ScoreModifier] static float «R»(in ScorePosition at, float score) => score;", "[ScoreModifier] static float R(float score, ScorePosition at) => score;" },
        { "ATTN0030", "[ScoreModifier] static float «R»<T>(float score, in ScorePosition at) => score;", Score + ") => score;" },
        { "ATTN0030", "[MaskModifier] static float «R»(in ScorePosition at) => 0;", "[MaskModifier] static bool R(in ScorePosition at) => true;" },
        { "ATTN0030", "[MaskModifier, ScoreModifier] static bool «R»(in ScorePosition at) => true;", "[MaskModifier] static bool R(in ScorePosition at) => true;" },
        { "ATTN0030", "[SinkLogit] static float «S»(float score, in ScorePosition at) => 0;", "[SinkLogit] static float S(in ScorePosition at) => 0;" },
        { "ATTN0030", "[SinkLogit] static float «S»(in ScorePosition at) => at.Key;", "[SinkLogit] static float S(in ScorePosition at) => at.QueryHead;" },
        { "ATTN0030", "static float H(in ScorePosition at) => at.Key; [SinkLogit] static float «S»(in ScorePosition at) => H(at);", "static float H(in ScorePosition at) => at.Query; [SinkLogit] static float S(in ScorePosition at) => H(at);" },
        { "ATTN0030", "[SinkLogit] static float S(in ScorePosition at) => 0; [SinkLogit] static float «T»(in ScorePosition at) => 0;", "[SinkLogit] static float S(in ScorePosition at) => 0;" },
        { "ATTN0031", Score + ", float «slope») => score;", Score + ", float slope = 1) => score;" },
        { "ATTN0031", Score + ", double «slope» = 1) => score;", Score + ", [RuntimeParameter(1)] float slope) => score;" },
        { "ATTN0031", Score + ", [RuntimeParameter(1)] float «slope» = 1) => score;", Score + ", int slope = 1) => score;" },
        { "ATTN0031", Score + ", [RuntimeParameter(2, Max = 1)] float «slope») => score;", Score + ", [RuntimeParameter(1, Max = 1)] float slope) => score;" },
        { "ATTN0031", Score + ", float «slope» = float.NaN) => score;", Score + ", bool slope = true) => score;" },
        { "ATTN0031", Score + ", ref float «slope») => score;", Score + ", in ReadOnlySpan<float> slopes) => score;" },
        { "ATTN0031", Score + ", ReadOnlySpan<long> «table») => score;", Score + ", ReadOnlySpan<bool> table) => score;" },
        { "ATTN0031", Score + ", ReadOnlySpan<int> «query») => score;", Score + ", ReadOnlySpan<int> queries) => score;" },
        { "ATTN0031", Score + ", int n = 1) => score; [MaskModifier] static bool M(in ScorePosition at, int «n» = 2) => true;", Score + ", int n = 1) => score; [MaskModifier] static bool M(in ScorePosition at, int n = 1) => true;" },
        { "ATTN0031", Score + ", int n = 1) => score; [MaskModifier] static bool M(in ScorePosition at, ReadOnlySpan<int> «n») => true;", Score + ", ReadOnlySpan<int> n) => score; [MaskModifier] static bool M(in ScorePosition at, ReadOnlySpan<int> n) => true;" },
        { "ATTN0031", Score + $"{string.Concat(Enumerable.Range(0, 8).Select(i => $", ReadOnlySpan<int> s{i}"))}, ReadOnlySpan<int> «s8») => score;", Score + $"{string.Concat(Enumerable.Range(0, 8).Select(i => $", ReadOnlySpan<int> s{i}"))}) => score;" },
        { "ATTN0032", Score + ") => (float)(score * «0.5»);", Score + ") => score * 0.5f;" },
        { "ATTN0032", Score + ") => score > «0.5» ? 1 : 0;", Score + ") => score > 0.5f ? 1 : 0;" },
        { "ATTN0032", Score + ") => (float)«Math.Sqrt(score)»;", Score + ") => MathF.Sqrt(score);" },
        { "ATTN0032", Score + ") => «MathF.Sin(score)»;", Score + ") => MathF.Tanh(score);" },
        { "ATTN0032", Score + ") => «MathF.Round(score, 2)»;", Score + ") => MathF.Round(score);" },
        { "ATTN0032", Score + ") => «score % 2»;", Score + ") => at.Key % 2;" },
        { "ATTN0032", "static float s_x; " + Score + ") => «s_x» * score;", "const float X = 3; " + Score + ") => X * score;" },
        { "ATTN0032", Score + ") => «float.Parse(\"1\")»;", Score + ") => 1;" },
        { "ATTN0032", Score + ") => at.Key == 0 ? score : «R(score, at)»;", "static float H(float x) => x * x; " + Score + ") => at.Key == 0 ? score : H(score);" },
        { "ATTN0032", "static T H<T>(T x) => x; " + Score + ") => «H(score)»;", "static float H(float x, int n = 2) => x * n; " + Score + ") => H(n: 3, x: score);" },
        { "ATTN0032", "static float H(ref float x) => x; " + Score + ") => «H(ref score)»;", "static float H(in float x) => x; " + Score + ") => H(in score);" },
        { "ATTN0032", Score + ") => checked(«at.Key + at.Query»);", Score + ") => unchecked(at.Key + at.Query);" },
        { "ATTN0032", Score + ") => (int)(«(long)at.Key»);", Score + ") => (int)(float)at.Key;" },
        { "ATTN0032", Score + ") { return «score = 1»; }", Score + ") { score = 1; return score; }" },
        { "ATTN0032", Score + ") { «float F(float x) => x;» return F(score); }", "static float F(float x) => x; " + Score + ") { return F(score); }" },
        { "ATTN0032", Score + ") { if (score > 1) «throw null!;» return score; }", Score + ") { if (score > 1) return 0; return score; }" },
        { "ATTN0032", Score + ") { switch («at.Key») { default: return score; } }", Score + ") => at.Key switch { 1 or 2 => 0, > 5 => 1, _ => score };" },
        { "ATTN0032", Score + ") => at.Key switch { 1 => 0, «> 5 => 1» };", Score + ") => (at.Key > 3) switch { true => 0, false => 1 };" },
        { "ATTN0032", Score + ") => at.Key is «var x» ? x : 0;", Score + ") => at.Key is >= 3 and not 5 ? 1 : 0;" },
        { "ATTN0032", Score + ") { ScorePosition p = «at»; return score; }", Score + ") { int p = at.Key; return score + p; }" },
        { "ATTN0032", Score + ", ReadOnlySpan<float> t) => «t.Slice(1)»[0];", Score + ", ReadOnlySpan<float> t) => t[1];" },
        { "ATTN0032", Score + ", ReadOnlySpan<float> t) => «t.IsEmpty» ? 0 : score;", Score + ", ReadOnlySpan<float> t) => t.Length == 0 ? 0 : score;" },
        { "ATTN0032", Score + $") => {string.Concat(Enumerable.Repeat("-(", 100))}«score»{new string(')', 100)};", Score + ") => -(-(-(-score)));" },
        { "ATTN0033", Score + ") { while («score > 0») score--; return score; }", Score + ") { for (int i = 0; i < 8; i++) { if (score <= 0) break; score--; } return score; }" },
        { "ATTN0033", Score + ", int n = 9) { for (int i = 0; «i < n»; i++) n++; return score; }", Score + ", int n = 9) { for (int i = 0; i < n; i++) score++; return score; }" },
        { "ATTN0033", Score + ") { for (int i = 0; «i < 9»; i--) score++; return score; }", Score + ") { for (int i = 9; i >= 0; i -= 2) score++; return score; }" },
        { "ATTN0033", Score + ") { for (int i = 0; «i != 9»; i++) score++; return score; }", Score + ") { for (int i = 0; i <= 9; i++) score++; return score; }" },
        { "ATTN0033", Score + ") { for (float i = 0; «i < 9»; i++) score++; return score; }", Score + ") { for (int i = 0; i < at.Batch; i += 3) continue; return score; }" },
        { "ATTN0033", Score + ", ReadOnlySpan<float> t) { foreach (float x in «t») score += x; return score; }", Score + ", ReadOnlySpan<float> t) { for (int i = 0; i < t.Length; i++) score += t[i]; return score; }" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_fault_is_reported_where_it_is(string id, string faulty, string mended)
    {
        (string source, string marked) = Diagnosed.Split(Pipeline(faulty));
        Compilation compilation = Compiler.Compile(source);
        Diagnosed.Matches(id, marked, Compiler.Generate(compilation).Diagnostics, compilation);
        Compilation generated = Compiler.GenerateInto(Compiler.Compile(Pipeline(mended)), out var diagnostics);
        Assert.Empty(diagnostics);
        Assert.Empty(generated.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error));
    }

    [Fact]
    public void All_that_is_wrong_with_a_rule_is_said_at_once()
    {
        const string Source = "[ScoreModifier] static float R(float score, in ScorePosition at) { while (true) score = MathF.Cos(score); return (float)(score * 2.0); }";
        IEnumerable<string> ids = Compiler.Generate(Compiler.Compile(Pipeline(Source))).Diagnostics.Select(d => d.Id).Order();
        Assert.Equal(["ATTN0032", "ATTN0033"], ids.Distinct());
    }

    [Fact]
    public void What_the_compiler_refuses_is_not_refused_twice()
    {
        GeneratorDriverRunResult result = Compiler.Generate(Compiler.Compile(Pipeline(
            "[ScoreModifier] static float R(float score, in ScorePosition at) => score + missing * at.Nothing;")));
        Assert.Empty(result.Diagnostics);
        Assert.Empty(result.GeneratedTrees);
    }

    [Theory]
    [InlineData("[AttentionPipeline, «ClosedAttend»]", "ATTN0016")]
    [InlineData("[AttentionPipeline, «TestSelect», TestGather, FlashAttention, TestScatter]", "ATTN0034")]
    [InlineData("[AttentionPipeline, «TestSelect», TokenCoverage, TestGather, FlashAttention, TestScatter]", "ATTN0034 ATTN0019")]
    [InlineData("[AttentionPipeline, «AntiDiagonal», BlockSparseAttention]", "ATTN0034")]
    [InlineData("[AttentionPipeline, «PooledTopK», BlockSparseAttention]", "ATTN0034")]
    [InlineData("[AttentionPipeline, «GateWeights», BlockSparseAttention]", "ATTN0034")]
    [InlineData("[AttentionPipeline, TokenCoverage, GatherTokens, «PooledCoverage», BlockSparseAttention, ScatterTokens]", "ATTN0034")]
    public void Rules_need_stages_that_apply_them(string attributes, string ids)
    {
        (string source, string marked) = Diagnosed.Split(attributes + " partial class P { " + Score.Replace("R(", "Bias(", StringComparison.Ordinal) + ") => score; }");
        Compilation compilation = Compiler.Compile("using System;\n" + source);
        Diagnostic[] found = [.. Compiler.Generate(compilation).Diagnostics];
        Assert.Equal(ids.Split(' ').Order(), found.Select(d => d.Id).Order());
        Diagnostic first = found.Single(d => d.Id == ids.Split(' ')[0]);
        Assert.Equal(marked, compilation.SyntaxTrees.Last().ToString().Substring(first.Location.SourceSpan.Start, first.Location.SourceSpan.Length));
        Assert.Contains("Bias", first.GetMessage(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[AttentionPipeline, StreamingBlocks, BlockSparseAttention]")]
    [InlineData("[AttentionPipeline, VerticalSlash, BlockSparseAttention]")]
    [InlineData("[AttentionPipeline, FlexPrefill, BlockSparseAttention]")]
    public void Block_selectors_that_score_nothing_or_apply_rules_take_them(string attributes) =>
        Assert.Empty(Compiler.Generate(Compiler.Compile(
            $"using System;\n{attributes} partial class P {{ {Score}) => score; }}")).Diagnostics);

    [Fact]
    public void A_rule_of_no_pipeline_has_no_effect()
    {
        Compilation compilation = Compiler.Compile("class P { [ScoreModifier] static float Bias(float score, in ScorePosition at) => score; }");
        Diagnostic only = Assert.Single(Compiler.Analyze(compilation));
        Assert.Equal("ATTN0035", only.Id);
        Assert.Empty(Compiler.Analyze(Compiler.Compile(Pipeline(Score + ") => score;"))));
    }

    [Theory]
    [InlineData("score + (at.Query - at.Key)", "score + at.distance")]
    [InlineData("score + (at.Key - at.Query)", "score + rules::small_to_float(at.key - at.query)")]
    [InlineData("score * Math.Abs(at.Query - at.Key)", "score * rules::abs(at.distance)")]
    [InlineData("score + at.Query * at.Key", "score + rules::to_float(at.query * at.key)")]
    [InlineData("score + (float)Math.Min(n, 9) * Math.Abs(at.Key - 7)", "score + rules::to_float(rules::min(n, Int(9))) * rules::small_to_float(rules::abs(at.key - 7))")]
    [InlineData("score * (n > 3 ? 1 : 2f) / -3", "score * (n > 3 ? Float(1.0f) : Float(2.0f)) / -3.0f")]
    [InlineData("-(score + 1) - (score - 2) - -score", "-(score + 1.0f) - (score - 2.0f) - -score")]
    [InlineData("(at.Key & 3 | n ^ ~n) << 1 >>> 2", "rules::to_float(rules::shift_right_logical(((at.key & 3) | (n ^ ~n)) << 1, Int(2)))")]
    [InlineData("n > 1 && (n < 5 || at.Batch == 0) ? score : 0", "n > 1 && (n < 5 || at.batch == 0) ? score : Float(0.0f)")]
    [InlineData("true ? score * 1e-20f : 1", "score * 1E-20f")]
    public void An_expression_reads_in_cuda_as_in_csharp(string csharp, string cuda)
    {
        Compilation compilation = Compiler.Compile(Pipeline(Score + $", int n = 4) => {csharp};"));
        string text = Compiler.Generate(compilation).GeneratedTrees.Single(t => t.FilePath.EndsWith("Kernels.g.cs", StringComparison.Ordinal)).ToString();
        Assert.Contains($"return {cuda};\n", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("at.Query - at.Key < n", "ranges::less(ranges::subtract(at.query, at.key), ranges::of(Int(n)))")]
    [InlineData("at.Key >= 3 || !f", "ranges::either(ranges::less_or_equal(ranges::of(Int(3)), at.key), ranges::invert(ranges::of(f)))")]
    [InlineData("ids[at.Key] != ids[at.Batch]", "ranges::invert(ranges::equal(ranges::element(ids, bounds, 0, at.key), ranges::element(ids, bounds, 0, at.batch)))")]
    [InlineData("at.Key / n == 1 & true", "ranges::both(ranges::equal(ranges::divide(at.key, ranges::of(Int(n))), ranges::of(Int(1))), ranges::of(true))")]
    [InlineData("MathF.Exp(at.Key) > 2", "ranges::less(ranges::of(Float(2.0f)), ranges::any_float())")]
    public void A_mask_rule_reads_over_ranges_as_in_csharp(string csharp, string cuda)
    {
        Compilation compilation = Compiler.Compile(Pipeline($"[MaskModifier] static bool M(in ScorePosition at, ReadOnlySpan<int> ids, int n = 4, bool f = true) => {csharp};"));
        string text = Compiler.Generate(compilation).GeneratedTrees.Single(t => t.FilePath.EndsWith("Kernels.g.cs", StringComparison.Ordinal)).ToString();
        Assert.Contains($"return {cuda};\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_mask_rule_with_a_loop_is_asked_pair_by_pair()
    {
        Compilation compilation = Compiler.Compile(Pipeline(
            "[MaskModifier] static bool M(in ScorePosition at) { int x = at.Key; for (int i = 0; i < 3; i++) x /= 2; return x < 9; }"));
        Assert.All(Compiler.Generate(compilation).GeneratedTrees, tree =>
            Assert.DoesNotContain("Ranges", tree.ToString(), StringComparison.Ordinal));
    }

    private static string Pipeline(string methods) => $"using System;\n[AttentionPipeline, FlashAttention] partial class P {{ {methods} }}";
}
