extern alias abstractions;

using System.Globalization;
using System.Text;
using abstractions::AttnCompose;
using abstractions::AttnCompose.Cpu;
using AttnCompose.Cuda;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>
/// Random rules in every form that they have: the user's method as the C# compiler understands it, the generated hook of the CPU,
/// and the device text, which is C++ and so runs on a processor too, with stand-ins for the instructions of the device.
/// </summary>
public sealed class RandomRuleTests
{
    private const int Count = 50;

    private static readonly float[] s_oddScores =
        [0, -0f, float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.Epsilon, float.MaxValue, 3e9f, -3e9f, 8388609, 0.5f, -1.5f, 2.5f];

    [Theory]
    [InlineData(1, false, false)]
    [InlineData(1001, false, true)]
    [InlineData(2001, true, true)]
    public void The_hook_of_the_cpu_computes_what_the_methods_compute(int seed, bool loops, bool keyTables)
    {
        IReadOnlyList<LoadedRules> all = LoadedRules.Of(seed, Count, loops, keyTables);
        foreach (LoadedRules rules in all)
        {
            var random = new Random(seed);
            for (int round = 0; round < 12; round++)
            {
                int[] keys = round % 2 == 0 ? [] : [.. Enumerable.Range(0, RuleWriter.SpanLength).Where(_ => random.Next(3) > 0)];
                int first = keys.Length > 0 ? 0 : random.Next(20);
                float[] scores = [.. Enumerable.Range(0, keys.Length > 0 ? keys.Length : random.Next(1, 40)).Select(_ => Score(random))];
                var segment = new ScoreSegment
                {
                    Batch = random.Next(3), QueryHead = random.Next(8), KeyValueHead = random.Next(4), Query = random.Next(-5, 60), FirstKey = first,
                    Keys = keys,
                };
                float[] results = [.. scores];
                rules.Apply(in segment, results);
                for (int i = 0; i < scores.Length; i++)
                    AssertSame(rules, rules.Method(scores[i], segment.At(i)), results[i], scores[i], segment.At(i));
            }
        }
        // What is tested here is the vector form: without loops and divisions most rules must have one.
        int lanes = all.Count(rules => rules.HasLanes);
        Assert.True(loops || lanes > Count / 2, $"{lanes} of {Count} have a vector form: {string.Join(", ", all.Select(r => r.Form))}");
    }

    [CppTheory]
    [InlineData(3001)]
    public void The_device_text_computes_what_the_methods_compute(int seed)
    {
        IReadOnlyList<LoadedRules> all = LoadedRules.Of(seed, Count, loops: true, keyTables: true);
        var random = new Random(seed);
        var cases = Enumerable.Range(0, Count * 60).Select(i => (
            Rule: i % Count, Score: Score(random),
            At: new ScorePosition(random.Next(3), random.Next(8), random.Next(4), random.Next(-5, 60), random.Next(RuleWriter.SpanLength)))).ToArray();
        float[] results = HostedDevice.Run(all, cases);
        for (int i = 0; i < cases.Length; i++)
        {
            LoadedRules rules = all[cases[i].Rule];
            AssertSame(rules, rules.Method(cases[i].Score, cases[i].At), results[i], cases[i].Score, cases[i].At);
        }
    }

    [NvrtcTheory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void The_device_text_compiles(string architecture)
    {
        var text = new StringBuilder("#include <attncompose/rules.cuh>\nnamespace rules = attn::rules;\n");
        IReadOnlyList<LoadedRules> all = LoadedRules.Of(4001, Count, loops: true, keyTables: true);
        for (int i = 0; i < all.Count; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"namespace r{i} {{\n{all[i].Device}\n}}\n");
            text.Append(CultureInfo.InvariantCulture, $"extern \"C\" __global__ void k{i}(r{i}::Score score, attn::ScorePosition at, float* to) {{ *to = score.apply(*to, at); }}\n");
        }
        CompiledKernel compiled = KernelCompiler.Compile(
            new KernelSource("random_rules", text.ToString(), []), new CompileOptions { Architecture = architecture, Verbose = true });
        Assert.Equal(Count, compiled.Entries.Count);
    }

    private static float Score(Random random) => random.Next(4) == 0 ? s_oddScores[random.Next(s_oddScores.Length)] : random.NextSingle() * 40 - 20;

    private static void AssertSame(LoadedRules rules, float expected, float actual, float score, ScorePosition at)
    {
        bool same = BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(actual) || (float.IsNaN(expected) && float.IsNaN(actual));
        Assert.True(same, $"{actual:R} instead of {expected:R} for score {score:R} at {at} in\n{rules.Source}\n{rules.Device}");
    }
}
