extern alias abstractions;

using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using abstractions::AttnCompose;
using abstractions::AttnCompose.Cpu;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace AttnCompose.Generators.Tests.Rules;

/// <summary>Random rules, compiled: the methods as the C# compiler understands them, and what the generator made of them.</summary>
internal sealed unsafe class LoadedRules
{
    private delegate float RuleMethod(
        float score, in ScorePosition at, ReadOnlySpan<float> table, ReadOnlySpan<int> ids, ReadOnlySpan<bool> flags, float a, int n, bool f);

    private delegate bool MaskMethod(
        in ScorePosition at, ReadOnlySpan<float> table, ReadOnlySpan<int> ids, ReadOnlySpan<bool> flags, float a, int n, bool f);

    private delegate RuleVerdict SeesMethod(in TileRanges at);

    private delegate void ApplyMethod(in ScoreSegment at, Span<float> scores);

    public const float A = 0.3f;
    public const int N = 6;
    public const bool F = false;

    private static readonly float* s_table = Allocate<float>();
    private static readonly int* s_ids = Allocate<int>();
    private static readonly bool* s_flags = Allocate<bool>();

    private readonly RuleMethod? _rule;
    private readonly MaskMethod? _mask;
    private readonly ApplyMethod _apply;
    private readonly SeesMethod? _sees;

    static LoadedRules()
    {
        var random = new Random(5);
        for (int i = 0; i < RuleWriter.SpanLength; i++)
            (s_table[i], s_ids[i], s_flags[i]) = (random.NextSingle() * 4 - 2, random.Next(-9, 60), random.Next(2) == 0);
    }

    private LoadedRules(Type type, string source, string generated)
    {
        (Source, HasLanes) = (source, generated.Contains("RuleLanes.Store", StringComparison.Ordinal));
        Form = generated.Split("// -- rules: ")[1].Split('\n')[0];
        const BindingFlags Any = BindingFlags.Static | BindingFlags.NonPublic;
        _rule = type.GetMethod("Rule", Any)?.CreateDelegate<RuleMethod>();
        _mask = type.GetMethod("Mask", Any)?.CreateDelegate<MaskMethod>();
        Type hook = type.GetNestedType("ScoreRules", BindingFlags.NonPublic)!;
        object boxed = Activator.CreateInstance(hook)!;
        hook.GetField("A")!.SetValue(boxed, A);
        hook.GetField("N")!.SetValue(boxed, N);
        hook.GetField("F")!.SetValue(boxed, F);
        hook.GetField("Table")!.SetValue(boxed, SpanOf(s_table));
        hook.GetField("Ids")!.SetValue(boxed, SpanOf(s_ids));
        hook.GetField("Flags")!.SetValue(boxed, SpanOf(s_flags));
        _apply = hook.GetMethod("Apply")!.CreateDelegate<ApplyMethod>(boxed);
        _sees = hook.GetMethod("Sees")?.CreateDelegate<SeesMethod>(boxed);
    }

    public static ReadOnlySpan<float> Table => new(s_table, RuleWriter.SpanLength);

    public static ReadOnlySpan<int> Ids => new(s_ids, RuleWriter.SpanLength);

    public static ReadOnlySpan<bool> Flags => new(s_flags, RuleWriter.SpanLength);

    /// <summary>The C#.</summary>
    public string Source { get; }

    /// <summary>Whether the generator found a vector form.</summary>
    public bool HasLanes { get; }

    /// <summary>Which form the CPU has, and why.</summary>
    public string Form { get; }

    /// <summary>The device struct <c>Score</c>.</summary>
    public required string Device { get; init; }

    /// <summary>Rules of seeds from one on.</summary>
    public static IReadOnlyList<LoadedRules> Of(int seed, int count, bool loops, bool keyTables) =>
        Of(seed, [.. Enumerable.Range(seed, count).Select(s => new RuleWriter(new Random(s)).Pipeline($"R{s}", loops, keyTables))]);

    /// <summary>Mask rules of the shapes that ranges of positions tell something of.</summary>
    public static IReadOnlyList<LoadedRules> Shapes(int seed, int count) =>
        Of(seed, [.. Enumerable.Range(seed, count).Select(s => new RuleWriter(new Random(s)).Shape($"R{s}"))]);

    /// <summary>Score rules with a term of the distance of query and key.</summary>
    public static IReadOnlyList<LoadedRules> Biases(int seed, int count) =>
        Of(seed, [.. Enumerable.Range(seed, count).Select(s => new RuleWriter(new Random(s)).Bias($"R{s}"))]);

    private static IReadOnlyList<LoadedRules> Of(int seed, string[] sources)
    {
        CSharpCompilation compilation = Compiler.Compile([.. sources.Select(s => "using System;\n" + s)]);
        Compilation generated = Compiler.GenerateInto(compilation, out var diagnostics);
        Assert.True(diagnostics.IsEmpty, string.Join("\n", diagnostics) + sources.ElementAtOrDefault(0));
        var context = new AssemblyLoadContext($"rules {seed}");
        Assembly assembly = context.LoadFromStream(new MemoryStream([.. Compiler.Emit(generated)]));
        return
        [
            .. Enumerable.Range(0, sources.Length).Select(i =>
            {
                string Text(string kind) =>
                    generated.SyntaxTrees.Single(t => t.FilePath.EndsWith($"R{seed + i}.{kind}.g.cs", StringComparison.Ordinal)).ToString();
                string cuda = Text("Kernels");
                int begin = cuda.IndexOf("struct Score {", StringComparison.Ordinal);
                int end = cuda.IndexOf("\n};", begin, StringComparison.Ordinal) + 3;
                return new LoadedRules(assembly.GetType($"R{seed + i}")!, sources[i], Text("Cpu"))
                {
                    Device = cuda[begin..end],
                };
            }),
        ];
    }

    /// <summary>What the methods make of a score: the one definition.</summary>
    public float Method(float score, in ScorePosition at) =>
        _mask is not null && !_mask(in at, Table, Ids, Flags, A, N, F)
            ? float.NegativeInfinity
            : _rule?.Invoke(score, in at, Table, Ids, Flags, A, N, F) ?? score;

    /// <summary>What the generated hook says of a tile; null where the rules have no form over ranges.</summary>
    public RuleVerdict? Sees(in TileRanges at) => _sees?.Invoke(in at);

    /// <summary>What the mask method says of the pairs of a tile, asked one by one.</summary>
    public RuleVerdict SeesEach(in TileRanges at)
    {
        var verdict = new RuleVerdict(false, false);
        for (int query = at.Query.Low; query <= at.Query.High; query++)
        {
            for (int key = at.Key.Low; key <= at.Key.High; key++)
            {
                var position = new ScorePosition(at.Batch.Low, at.QueryHead.Low, at.KeyValueHead.Low, query, key);
                bool sees = _mask!(in position, Table, Ids, Flags, A, N, F);
                verdict = new(verdict.CanHold || sees, verdict.CanFail || !sees);
            }
        }
        return verdict;
    }

    /// <summary>What the generated hook makes of a run of scores.</summary>
    public void Apply(in ScoreSegment at, Span<float> scores) => _apply(in at, scores);

    private static T* Allocate<T>() where T : unmanaged =>
        (T*)System.Runtime.InteropServices.NativeMemory.AlignedAlloc((nuint)(RuleWriter.SpanLength * Unsafe.SizeOf<T>()), 64);

    /// <summary>A span argument of rules as a pipeline is given it.</summary>
    public static object SpanOf<T>(T* data, int length = RuleWriter.SpanLength) where T : unmanaged => typeof(RuleSpan<T>)
        .GetConstructor(BindingFlags.Instance | BindingFlags.NonPublic, [typeof(T*), typeof(int)])!
        .Invoke([Pointer.Box(data, typeof(T*)), length]);
}
