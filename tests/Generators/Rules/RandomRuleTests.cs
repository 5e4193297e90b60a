extern alias abstractions;

using System.Globalization;
using System.Runtime.InteropServices;
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

    [Theory]
    [InlineData(5001)]
    public void The_cpu_skips_no_pair_that_a_mask_shows_and_asks_of_every_pair_that_it_may_hide(int seed)
    {
        IReadOnlyList<LoadedRules> all = [.. LoadedRules.Of(seed, Count, loops: false, keyTables: true), .. LoadedRules.Shapes(seed, Count)];
        int plain = 0, known = 0, decided = 0;
        var random = new Random(seed);
        foreach (LoadedRules rules in all)
        {
            for (int round = 0; round < 60; round++)
            {
                TileRanges tile = Tile(random);
                if (rules.Sees(in tile) is not { } verdict)
                    break;
                RuleVerdict truth = rules.SeesEach(in tile);
                AssertSound(rules, truth, verdict, tile);
                bool isShape = rules.Source.Contains("int distance", StringComparison.Ordinal);
                plain += isShape ? 0 : 1;
                known += isShape && truth != RuleVerdict.Any ? 1 : 0;
                decided += isShape && verdict != RuleVerdict.Any ? 1 : 0;
            }
        }
        Assert.True(plain > 200, $"{plain} tiles of rules of every kind were judged");
        Assert.True(decided > known * 2 / 3, $"of {known} tiles that are empty or full, ranges tell of {decided}");
    }

    [CppTheory]
    [InlineData(6001)]
    public void The_device_skips_no_pair_that_a_mask_shows_and_asks_of_every_pair_that_it_may_hide(int seed)
    {
        LoadedRules[] all =
        [
            .. LoadedRules.Of(seed, Count, loops: false, keyTables: true).Where(rules => rules.Sees(Tile(new Random(1))) is not null),
            .. LoadedRules.Shapes(seed, Count),
        ];
        var random = new Random(seed);
        (int Rule, TileRanges At)[] tiles = [.. Enumerable.Range(0, all.Length * 60).Select(i => (i % all.Length, Tile(random)))];
        RuleVerdict[] verdicts = HostedDevice.Judge(all, tiles);
        for (int i = 0; i < tiles.Length; i++)
            AssertSound(all[tiles[i].Rule], all[tiles[i].Rule].SeesEach(in tiles[i].At), verdicts[i], tiles[i].At);
        Assert.True(verdicts.Count(v => !v.CanHold) > tiles.Length / 20, "hardly a tile is found to be empty");
        Assert.True(verdicts.Count(v => !v.CanFail) > tiles.Length / 20, "hardly a tile is found to be full");
    }

    // A walk is taken by a whole warp, so a program of its own plays one.
    [CppTheory]
    [InlineData("ruled_walk")]
    public void The_walk_of_a_mask_rule_takes_what_the_rule_leaves(string program) => HostedDevice.RunProgram(program);

    // Half of the error that RuleMath.SoftCap states; the chip's own functions may add the other half.
    [CppTheory]
    [InlineData(1)]
    [InlineData(50)]
    public void The_device_form_of_a_soft_cap_is_within_its_error(int cap)
    {
        float[] results = MemoryMarshal.Cast<byte, float>(HostedDevice.RunText(string.Create(CultureInfo.InvariantCulture, $$"""
            #include <attncompose/rule_ranges.cuh>
            #include <cstdio>
            int main() {
                FILE* out = fopen("out", "wb");
                for (int i = -20000; i <= 20000; i++) {
                    const float result = attn::rules::soft_cap(attn::rules::Float({{cap}} * (i / 1000.0f)), attn::rules::Float({{cap}}.0f)).value;
                    fwrite(&result, 4, 1, out);
                }
                return fclose(out);
            }
            """), [])).ToArray();
        Assert.Equal(40001, results.Length);
        for (int i = 0; i < results.Length; i++)
            Assert.InRange(results[i] - cap * Math.Tanh((double)(cap * ((i - 20000) / 1000f)) / cap), -cap * Math.ScaleB(1, -22), cap * Math.ScaleB(1, -22));
        Assert.Equal((-cap, 0, cap), (results[0], results[20000], results[^1]));
    }

    private static TileRanges Tile(Random random)
    {
        int query = random.Next(60), key = random.Next(60);
        return new(
            RuleRanges.Of(random.Next(3)), RuleRanges.Of(random.Next(8)), RuleRanges.Of(random.Next(4)),
            new(query, Math.Min(63, query + random.Next(12))), new(key, Math.Min(63, key + random.Next(12))));
    }

    private static void AssertSound(LoadedRules rules, RuleVerdict truth, RuleVerdict verdict, TileRanges tile) => Assert.True(
        (verdict.CanHold || !truth.CanHold) && (verdict.CanFail || !truth.CanFail),
        $"{verdict}, the truth {truth}, of {tile} in\n{rules.Source}\n{rules.Device}");

    [CppTheory]
    [InlineData(3001)]
    public void The_device_text_computes_what_the_methods_compute(int seed)
    {
        LoadedRules[] all = [.. LoadedRules.Of(seed, Count, loops: true, keyTables: true), .. LoadedRules.Biases(seed + Count, Count)];
        Assert.All(all[Count..], rules => Assert.Contains("kHasDistanceTerm", rules.Device, StringComparison.Ordinal));
        var random = new Random(seed);
        var cases = Enumerable.Range(0, all.Length * 60).Select(i => (
            Rule: i % all.Length, Score: Score(random),
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
        var text = new StringBuilder("#include <attncompose/rule_ranges.cuh>\nnamespace rules = attn::rules;\nnamespace ranges = attn::rules::ranges;\n");
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
