extern alias abstractions;

using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Text;
using abstractions::AttnCompose;
using abstractions::AttnCompose.Cpu;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>Random token scores in every form: the user's method, the stage of the CPU, and the device text run on a processor.</summary>
public sealed unsafe class RandomTokenRuleTests
{
    private const int Count = 30, Dim = 10, Tokens = 47, First = 64, Length = 130, Heads = 2;

    // What the device's struct and this test need of token_rule.cuh, over floats.
    private const string StandIn = """
        #include <attncompose/rules.cuh>
        #include <cstdio>
        namespace attn::rules {
        struct Token { Int batch, query_head, key_value_head, position, length; };
        struct Row {
            const float* elements;
            Int size() const { return 10; }
            Float get(Int i) const { return i >= 0 && i < 10 ? elements[i.value] : 0.0f; }
            Float operator[](Int i) const { return get(i); }
        };
        }
        namespace rules = attn::rules;

        """;

    private delegate float RuleMethod(
        in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ReadOnlySpan<float> table, float a, int n);

    private delegate void ScoreMethod(in TokenSegment at, Span<float> scores);

    private static readonly float* s_table = Numbers(200, 3);
    private static readonly float* s_keys = Numbers(Tokens * Dim, 1);
    private static readonly float* s_values = Numbers(Tokens * Dim, 2);

    [Theory]
    [InlineData(100)]
    [InlineData(3000)]
    public void The_stage_of_the_cpu_computes_what_the_method_computes(int seed)
    {
        int lanes = 0;
        List<Loaded> all = Load(seed);
        foreach (Loaded rule in all)
        {
            lanes += rule.InVectors ? 1 : 0;
            for (int head = 0; head < Heads; head++)
            {
                float[] scores = new float[Tokens];
                rule.Score(new TokenSegment
                {
                    Batch = head, QueryHead = head, KeyValueHead = head, First = First, Length = Length, Dim = Dim,
                    Keys = Tile(s_keys, rule.InVectors), Values = Tile(s_values, rule.InVectors),
                }, scores);
                for (int t = 0; t < Tokens; t++)
                    AssertSame(rule, Expected(rule, head, t), scores[t], head, t);
            }
        }
        Assert.True(lanes > Count / 3, $"{lanes} of {Count} have a vector form: {string.Join(", ", all.Select(r => r.Form).Distinct())}");
    }

    [CppTheory]
    [InlineData(100)]
    [InlineData(3000)]
    public void The_device_computes_what_the_method_computes(int seed)
    {
        List<Loaded> all = Load(seed);
        var text = new StringBuilder(StandIn);
        for (int i = 0; i < all.Count; i++)
            text.Append(CultureInfo.InvariantCulture, $"namespace r{i} {{\n{all[i].Device}\n}}\n");
        Array("table", s_table, 200);
        Array("keys", s_keys, Tokens * Dim);
        Array("values", s_values, Tokens * Dim);
        text.Append("int main() {\n    FILE* out = fopen(\"out\", \"wb\");\n");
        for (int i = 0; i < all.Count; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $$"""
                    for (int h = 0; h < {{Heads}}; h++)
                        for (int t = 0; t < {{Tokens}}; t++) {
                            const float score = r{{i}}::TokenRule{{{all[i].Members}}}(
                                rules::Token{h, h, h, {{First}} + t, {{Length}}}, rules::Row{keys + t * {{Dim}}}, rules::Row{values + t * {{Dim}}});
                            fwrite(&score, 4, 1, out);
                        }

                """);
        }
        float[] results = MemoryMarshal.Cast<byte, float>(HostedDevice.RunText(text.Append("    return fclose(out);\n}\n").ToString(), [])).ToArray();
        for (int i = 0; i < results.Length; i++)
        {
            (int rest, int t) = Math.DivRem(i, Tokens);
            AssertSame(all[rest / Heads], Expected(all[rest / Heads], rest % Heads, t), results[i], rest % Heads, t);
        }

        void Array(string name, float* values, int count) => text.Append(
            CultureInfo.InvariantCulture,
            $"const float {name}[] = {{{string.Join(", ", new ReadOnlySpan<float>(values, count).ToArray().Select(v => $"__builtin_bit_cast(float, {BitConverter.SingleToUInt32Bits(v)}u)"))}}};\n");
    }

    private static float Expected(Loaded rule, int head, int t) => rule.Method(
        new TokenPosition(head, head, head, First + t, Length), new(s_keys + t * Dim, Dim), new(s_values + t * Dim, Dim), new(s_table, 200), 0.3f, 6);

    private static void AssertSame(Loaded rule, float expected, float actual, int head, int token)
    {
        bool same = BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(actual) || (float.IsNaN(expected) && float.IsNaN(actual));
        Assert.True(same, $"head {head} token {token}: {actual}, the method gives {expected}; {rule.Form}\n{rule.Source}");
    }

    private static List<Loaded> Load(int seed)
    {
        string[] sources = [.. Enumerable.Range(seed, Count).Select(s => new TokenRuleWriter(new Random(s)).Pipeline($"R{s}"))];
        Compilation generated = Compiler.GenerateInto(Compiler.Compile([.. sources.Select(s => "using System;\n" + s)]), out var diagnostics);
        Assert.True(diagnostics.IsEmpty, string.Join("\n", diagnostics));
        Assembly assembly = new AssemblyLoadContext($"token rules {seed}").LoadFromStream(new MemoryStream([.. Compiler.Emit(generated)]));
        return [.. sources.Select((source, i) =>
        {
            string Text(string kind) =>
                generated.SyntaxTrees.Single(t => t.FilePath.EndsWith($"R{seed + i}.{kind}.g.cs", StringComparison.Ordinal)).ToString();
            Type pipeline = assembly.GetType($"R{seed + i}")!;
            Type type = pipeline.GetNestedType("TokenRule", BindingFlags.NonPublic)!.GetNestedType("Rule", BindingFlags.NonPublic)!;
            object rule = Activator.CreateInstance(type)!;
            type.GetField("A")!.SetValue(rule, 0.3f);
            type.GetField("N")!.SetValue(rule, 6);
            type.GetField("Table")!.SetValue(rule, LoadedRules.SpanOf(s_table, 200));
            string cuda = Text("Kernels");
            int begin = cuda.IndexOf("struct TokenRule {", StringComparison.Ordinal);
            return new Loaded(
                source, Text("Cpu").Split("// -- token score: Rule; ")[1].Split('\n')[0], (bool)type.GetProperty("InVectors")!.GetValue(null)!,
                pipeline.GetMethod("Rule")!.CreateDelegate<RuleMethod>(), type.GetMethod("Score")!.CreateDelegate<ScoreMethod>(rule),
                cuda[begin..(cuda.IndexOf("\n};", begin, StringComparison.Ordinal) + 3)], "0.3f, 6, {table, 200}");
        })];
    }

    // Vectors of tokens one after another, or their elements beside each other.
    private static float[] Tile(float* rows, bool inVectors)
    {
        var tile = new float[TokenSegment.Tokens * Dim];
        for (int t = 0; t < Tokens; t++)
        {
            for (int d = 0; d < Dim; d++)
                tile[inVectors ? d * TokenSegment.Tokens + t : t * Dim + d] = rows[t * Dim + d];
        }
        return tile;
    }

    private static float* Numbers(int count, int seed)
    {
        var random = new Random(seed);
        var numbers = (float*)NativeMemory.Alloc((nuint)count, sizeof(float));
        for (int i = 0; i < count; i++)
            numbers[i] = random.NextSingle() * 4 - 2;
        return numbers;
    }

    private sealed record Loaded(
        string Source, string Form, bool InVectors, RuleMethod Method, ScoreMethod Score, string Device, string Members);
}
