extern alias abstractions;

using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using abstractions::AttnCompose;
using abstractions::AttnCompose.Cpu;
using AttnCompose.Cuda;
using AttnCompose.Testing;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>
/// Runs device rules on the processor: the device's own header compiled as C++, stand-ins for what its intrinsics do, and a trap
/// for every behaviour that C++ leaves undefined.
/// </summary>
internal static class HostedDevice
{
    // What rules.cuh needs of hooks.cuh and of CUDA.
    private const string StandIn = """
        #pragma once
        #include <cmath>
        #include <cstring>
        #include <limits>
        #define __device__
        inline float __fadd_rn(float a, float b) { return a + b; }
        inline float __fsub_rn(float a, float b) { return a - b; }
        inline float __fmul_rn(float a, float b) { return a * b; }
        inline float __fdiv_rn(float a, float b) { return a / b; }
        inline float __fsqrt_rn(float a) { return std::sqrt(a); }
        inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
        inline float __int2float_rn(int a) { return static_cast<float>(a); }
        inline float __int_as_float(int a) { float b; std::memcpy(&b, &a, 4); return b; }
        inline int __float2int_rz(float a) {
            return a != a ? 0 : a >= 2147483648.0f ? 2147483647 : a < -2147483648.0f ? -2147483647 - 1 : static_cast<int>(a);
        }
        template <typename T> T __ldg(const T* from) { return *from; }
        namespace attn {
        template <typename A, typename B> inline constexpr bool kSame = false;
        template <typename A> inline constexpr bool kSame<A, A> = true;
        template <typename A, typename B> concept SameAs = kSame<A, B>;
        inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
        template <typename T> constexpr T least(T a, T b) { return a < b ? a : b; }
        template <typename T> constexpr T largest(T a, T b) { return a < b ? b : a; }
        struct ScorePosition { int batch, query_head, key_value_head, query, key; float distance; };
        namespace ptx {
        inline float tanh(float x) { return std::tanh(x); }
        inline float exp2(float x) { return std::exp2(x); }
        inline float reciprocal(float x) { return 1 / x; }
        inline float min_nan(float a, float b) { return a != a || b != b ? a + b : a < b || (a == b && std::signbit(a)) ? a : b; }
        inline float max_nan(float a, float b) { return a != a || b != b ? a + b : a > b || (a == b && std::signbit(b)) ? a : b; }
        }  // namespace ptx
        }  // namespace attn
        """;

    // Bounds as the kernel finds them, of spans of one block.
    private const string Judging = """
        struct Tile { int rule, batch, query_head, key_value_head, query_low, query_high, key_low, key_high; };
        template <typename T> void fill(const rules::Span<T>& span, int number, rules::SpanBounds bounds) {
            const auto of = [&](long long i) { const int bits = ranges::bits_of(span.data[i]); return rules::SpanBounds::Entry{bits, bits}; };
            auto all = of(0);
            for (long long i = 1; i < span.length; i++) all = ranges::join<T>(all, of(i));
            *bounds.near(number) = *bounds.far(number) = all;
        }
        template <typename S> int judge(S score, const Tile& t) {
            static rules::SpanBounds::Entry entries[3 * 65];
            if constexpr (requires { score.bounds; }) {
                score.bounds = {entries, 1};
                score.for_each_bounded([&](const auto& span, int number) { fill(span, number, score.bounds); });
            }
            const auto verdict = score.sees({{t.batch, t.batch}, {t.query_head, t.query_head}, {t.key_value_head, t.key_value_head},
                                             {t.query_low, t.query_high}, {t.key_low, t.key_high}});
            return (verdict.can_hold ? 1 : 0) + (verdict.can_fail ? 2 : 0);
        }

        """;

    /// <summary>Results of cases, in order.</summary>
    public static float[] Run(IReadOnlyList<LoadedRules> rules, IReadOnlyList<(int Rule, float Score, ScorePosition At)> cases) =>
        MemoryMarshal.Cast<byte, float>(Run(rules, Apply(rules), [.. cases.SelectMany(Bytes)])).ToArray();

    /// <summary>What the mask rules say of tiles, in order.</summary>
    public static RuleVerdict[] Judge(IReadOnlyList<LoadedRules> rules, IReadOnlyList<(int Rule, TileRanges At)> tiles)
    {
        int[] numbers =
        [
            .. tiles.SelectMany(t => (int[])[t.Rule, t.At.Batch.Low, t.At.QueryHead.Low, t.At.KeyValueHead.Low, t.At.Query.Low, t.At.Query.High, t.At.Key.Low, t.At.Key.High]),
        ];
        byte[] results = Run(rules, Judging + Program("Tile", "int", rules, i => $"judge(r{i}::Score{s_members}, c)"), MemoryMarshal.AsBytes<int>(numbers).ToArray());
        return [.. MemoryMarshal.Cast<byte, int>(results).ToArray().Select(bits => new RuleVerdict((bits & 1) != 0, (bits & 2) != 0))];
    }

    private static byte[] Run(IReadOnlyList<LoadedRules> rules, string program, byte[] input) => RunText(Text(rules) + program, input);

    /// <summary>Compiles a program with the headers of rules and runs it over the file "in"; what it writes to "out".</summary>
    public static byte[] RunText(string program, byte[] input)
    {
        string folder = Directory.CreateTempSubdirectory("attncompose-rules-").FullName;
        try
        {
            Directory.CreateDirectory(Path.Combine(folder, "attncompose", "attention"));
            File.WriteAllText(Path.Combine(folder, "attncompose", "attention", "hooks.cuh"), StandIn);
            foreach (string header in (string[])["rules.cuh", "rule_ranges.cuh"])
                File.Copy(Repository.PathOf($"src/Cuda/Device/attncompose/{header}"), Path.Combine(folder, "attncompose", header));
            File.WriteAllText(Path.Combine(folder, "rules.cpp"), program);
            File.WriteAllBytes(Path.Combine(folder, "in"), input);
            Start(folder, "c++", "-std=c++20", "-O1", "-ffp-contract=off", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-I.", "rules.cpp", "-o", "rules");
            Start(folder, Path.Combine(folder, "rules"));
            return File.ReadAllBytes(Path.Combine(folder, "out"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Compiles a program of the folder Hosted with the device's headers and runs it; it ends with 0 where all is well.</summary>
    public static void RunProgram(string name)
    {
        string folder = Directory.CreateTempSubdirectory("attncompose-hosted-").FullName;
        try
        {
            Start(
                folder, "c++", "-std=c++20", "-O1", "-pthread", "-I", Repository.PathOf("src/Cuda/Device"),
                Repository.PathOf($"tests/Generators/Rules/Hosted/{name}.cpp"), "-o", name);
            Start(folder, Path.Combine(folder, name));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Text(IReadOnlyList<LoadedRules> rules)
    {
        var text = new StringBuilder(
            "#include <attncompose/rule_ranges.cuh>\n#include <cstdio>\nnamespace rules = attn::rules;\nnamespace ranges = attn::rules::ranges;\n");
        for (int i = 0; i < rules.Count; i++)
            text.Append(CultureInfo.InvariantCulture, $"namespace r{i} {{\n{rules[i].Device}\n}}\n");
        string Numbers<T>(ReadOnlySpan<T> values, Func<T, string> form) => string.Join(", ", values.ToArray().Select(form));
        text.Append(CultureInfo.InvariantCulture, $"const float table[] = {{{Numbers(LoadedRules.Table, v => $"__builtin_bit_cast(float, {BitConverter.SingleToUInt32Bits(v)}u)")}}};\n");
        text.Append(CultureInfo.InvariantCulture, $"const int ids[] = {{{Numbers(LoadedRules.Ids, v => v.ToString(CultureInfo.InvariantCulture))}}};\n");
        text.Append(CultureInfo.InvariantCulture, $"const bool flags[] = {{{Numbers(LoadedRules.Flags, v => v ? "true" : "false")}}};\n");
        return text.ToString();
    }

    // Members of every Score: options, then spans.
    private static readonly string s_members = string.Create(
        CultureInfo.InvariantCulture,
        $"{{__builtin_bit_cast(float, {BitConverter.SingleToInt32Bits(LoadedRules.A)}), {LoadedRules.N}, {(LoadedRules.F ? "true" : "false")}, "
        + $"{{table, {RuleWriter.SpanLength}}}, {{ids, {RuleWriter.SpanLength}}}, {{flags, {RuleWriter.SpanLength}}}}}");

    // A distance term is that of any query and key so far apart, and changes nothing.
    private const string Applying = """
        struct Case { int rule; float score; int batch, query_head, key_value_head, query, key; };
        template <typename S> float apply(const S& score, const Case& c) {
            const int distance = c.query - c.key;
            const auto at = [&](int key) -> attn::ScorePosition {
                return {c.batch, c.query_head, c.key_value_head, key + distance, key, static_cast<float>(distance)};
            };
            const float result = score.apply(c.score, at(c.key));
            if constexpr (requires { S::kHasDistanceTerm; }) {
                const float given = score.hides(at(c.key)) ? -attn::kInfinity : score.change(c.score, at(c.key), score.distance_term(at(0)));
                if (__builtin_bit_cast(unsigned, result) != __builtin_bit_cast(unsigned, given) && (result == result || given == given))
                    __builtin_trap();
            }
            return result;
        }

        """;

    private static string Apply(IReadOnlyList<LoadedRules> rules) =>
        Applying + Program("Case", "float", rules, i => $"apply(r{i}::Score{s_members}, c)");

    private static string Program(string item, string result, IReadOnlyList<LoadedRules> rules, Func<int, string> call)
    {
        var text = new StringBuilder("int main() {\n    FILE* in = fopen(\"in\", \"rb\");\n    FILE* out = fopen(\"out\", \"wb\");\n");
        text.Append(CultureInfo.InvariantCulture, $"    {item} c;\n    while (fread(&c, sizeof c, 1, in) == 1) {{\n        {result} result = 0;\n");
        text.Append("        switch (c.rule) {\n");
        for (int i = 0; i < rules.Count; i++)
            text.Append(CultureInfo.InvariantCulture, $"            case {i}: result = {call(i)}; break;\n");
        return text.Append("        }\n        fwrite(&result, sizeof result, 1, out);\n    }\n    return fclose(out);\n}\n").ToString();
    }

    private static byte[] Bytes((int Rule, float Score, ScorePosition At) c) =>
    [
        .. BitConverter.GetBytes(c.Rule), .. BitConverter.GetBytes(c.Score), .. BitConverter.GetBytes(c.At.Batch), .. BitConverter.GetBytes(c.At.QueryHead),
        .. BitConverter.GetBytes(c.At.KeyValueHead), .. BitConverter.GetBytes(c.At.Query), .. BitConverter.GetBytes(c.At.Key),
    ];

    private static void Start(string folder, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}: {errors[..Math.Min(errors.Length, 3000)]}");
    }

    /// <summary>Whether there is a C++ compiler.</summary>
    public static bool HasCompiler()
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo("c++", "--version") { RedirectStandardOutput = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (Win32Exception)
        {
            return false;
        }
    }
}

/// <summary>A theory that needs a C++ compiler.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class CppTheoryAttribute : TheoryAttribute
{
    private static readonly Lazy<bool> s_found = new(HostedDevice.HasCompiler);

    public CppTheoryAttribute() => Skip = s_found.Value ? null : "There is no C++ compiler (c++).";
}

/// <summary>A theory that needs NVRTC.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class NvrtcTheoryAttribute : TheoryAttribute
{
    public NvrtcTheoryAttribute() => Skip = KernelCompiler.IsAvailable ? null : "NVRTC was not found (eng/get-nvrtc.sh fetches it on Debian).";
}
