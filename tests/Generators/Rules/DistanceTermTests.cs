namespace AttnCompose.Generators.Tests.Rules;

/// <summary>What of a score rule the device computes once for all scores of a distance, and what it leaves in the rule.</summary>
public sealed class DistanceTermTests
{
    [Theory]
    [InlineData("return score + table[Math.Clamp(at.Query - at.Key, 0, 63)];", "table.get(rules::clamp(at.query - at.key, Int(0), Int(63)))")]
    [InlineData("return score * table[at.Key - at.Query];", "table.get(at.key - at.query)")]
    [InlineData("int distance = at.Query - at.Key; float d = distance * 0.5f; return score - MathF.Log(d) * a;", "rules::log(at.distance * 0.5f) * a")]
    [InlineData("return score - Far(at.Query - at.Key, a) / 3f;", "far(at.query - at.key, a) / 3.0f")]
    // The longest of two, and of one the whole.
    [InlineData("return score + table[at.Query - at.Key] - at.QueryHead / (1f + Far(at.Query - at.Key, 2f));", "rules::small_to_float(at.query_head) / (1.0f + far(at.query - at.key, 2.0f))")]
    // In a branch or loop as elsewhere.
    [InlineData("if (at.Key > 3) score += table[at.Query - at.Key]; return score;", "table.get(at.query - at.key)")]
    [InlineData("for (int i = 0; i < 2; i++) score += table[(at.Query - at.Key) * 2]; return score;", "table.get((at.query - at.key) * 2)")]
    public void An_expression_of_the_distance_is_a_function_of_its_own(string body, string term)
    {
        string device = Device(body);
        Assert.Contains("kHasDistanceTerm = true", device, StringComparison.Ordinal);
        Assert.Contains($"return {term};", device, StringComparison.Ordinal);
        Assert.Contains("distance_term", device.Split("Float rule(")[1].Split("\n    }\n")[0], StringComparison.Ordinal);
    }

    [Theory]
    // Cheaper than to look it up.
    [InlineData("return score - a * Math.Abs(at.Query - at.Key);")]
    [InlineData("return score - table[at.QueryHead] * (at.Query - at.Key);")]
    [InlineData("return score - Near(at.Query - at.Key);")]
    // Not the same along a diagonal.
    [InlineData("return score + table[at.Key] * MathF.Log(at.Key + 1f);")]
    [InlineData("return score + table[at.Query + at.Key];")]
    [InlineData("return score + table[(at.Query - at.Key) ^ at.Key];")]
    [InlineData("return MathF.Log(score * (at.Query - at.Key));")]
    [InlineData("int d = at.Query - at.Key; if (at.Key > 9) d = 9; return score + table[d];")]
    [InlineData("for (int i = 0; i < 2; i++) score += table[(at.Query - at.Key) * i]; return score;")]
    [InlineData("a += score; return score + MathF.Log(a * (at.Query - at.Key));")]
    public void Everything_else_stays_in_the_rule(string body) =>
        Assert.DoesNotContain("distance_term", Device(body), StringComparison.Ordinal);

    [Fact]
    public void A_span_of_that_name_is_another()
    {
        string device = Device("return score + distanceTerm[at.Query - at.Key];", "distanceTerm");
        Assert.Contains("rules::Span<float> distance_term_2;", device, StringComparison.Ordinal);
    }

    private static string Device(string body, string span = "table")
    {
        string source = $$"""
            using System;
            using AttnCompose;

            [AttentionPipeline, FlashAttention]
            public sealed partial class Mine
            {
                [ScoreModifier]
                internal static float Rule(float score, in ScorePosition at, ReadOnlySpan<float> {{span}}, float a = 0.5f)
                {
                    {{body}}
                }

                private static float Far(int distance, float a) => distance < 4 ? a : MathF.Log2((float)distance);

                private static float Near(int distance) => distance < 4 ? 1f : 2f;
            }
            """;
        var generated = Compiler.GenerateInto(Compiler.Compile([source]), out var diagnostics);
        Assert.Empty(diagnostics);
        string cuda = generated.SyntaxTrees.Single(tree => tree.FilePath.EndsWith("Mine.Kernels.g.cs", StringComparison.Ordinal)).ToString();
        int begin = cuda.IndexOf("struct Score {", StringComparison.Ordinal);
        return cuda[begin..(cuda.IndexOf("\n};", begin, StringComparison.Ordinal) + 3)];
    }
}
