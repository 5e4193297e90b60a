using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests.Pairs;

/// <summary>
/// What declarations decide. Stages are those of the library, found by their kinds: a new one is among the values without being
/// listed here.
/// </summary>
internal static class Factors
{
    public const int Tokens = 0, Budget = 1, Heads = 2, Pruned = 3, Compress = 4, Blocks = 5, Kernel = 6, BlockSize = 7, Modifier = 8,
        Decompress = 9, Mask = 10;

    private static readonly INamedTypeSymbol[] s_stages = FindStages();

    /// <summary>Rules of each kind, one at a time; what they compute is in the oracle of `verify`.</summary>
    public static IReadOnlyDictionary<string, string> Rules { get; } = new Dictionary<string, string>
    {
        ["Distance"] = """
            [ScoreModifier]
                internal static float Distance(float score, in ScorePosition at) =>
                    score - RulePipelines.Slope * Math.Abs(at.Query - at.Key);
            """,
        ["SoftCap"] = """
            [ScoreModifier]
                internal static float SoftCap(float score, in ScorePosition at) =>
                    RulePipelines.Cap * MathF.Tanh(score / RulePipelines.Cap);
            """,
        ["MaskFifths"] = """
            [MaskModifier]
                internal static bool MaskFifths(in ScorePosition at) => at.Key % 5 != 4;
            """,
        ["Window"] = """
            [MaskModifier]
                internal static bool Window(in ScorePosition at) => at.Query - at.Key < RulePipelines.Window;
            """,
        ["Documents"] = """
            [MaskModifier]
                internal static bool Documents(in ScorePosition at, ReadOnlySpan<int> document) => document[at.Query] == document[at.Key];
            """,
        ["Sink"] = """
            [SinkLogit]
                internal static float Sink(in ScorePosition at) => RulePipelines.FirstSink + RulePipelines.SinkStep * at.QueryHead;
            """,
    };

    /// <summary>All factors, by number.</summary>
    public static Factor[] All { get; } =
    [
        new("token selector or score", [Factor.None, .. Stages(s => Is(s, "TokenSelectorAttribute", "TokenScoreAttribute") && !Is(s, "TokenBudgetAttribute"))]),
        new("token budget", [Factor.None, .. Stages(s => Is(s, "TokenBudgetAttribute"))]),
        new("head scope", [.. MembersOf("HeadScope")]),
        new("pruned by a second pair", ["no", "yes"]),
        new("compress", [Factor.None, .. Stages(s => Is(s, "CompressAttribute"))]),
        new("block selector", [Factor.None, .. Stages(s => Is(s, "BlockSelectorAttribute"))]),
        new("attention kernel", [.. Stages(s => Is(s, "AttentionKernelAttribute", "BlockAttentionKernelAttribute"))]),
        new("block size", ["64x64", "64x128", "128x64", "128x128"]),
        new("modifier", [Factor.None, .. Rules.Keys]),
        new("decompress", [Factor.None, .. Stages(s => Is(s, "DecompressAttribute"))]),
        new("mask", [.. MembersOf("AttentionMask")]),
    ];

    /// <summary>Declarations that can be, of which any two values are tried: of each kind of pipeline one.</summary>
    public static Choice[] Bases { get; } = FindBases();

    public static bool IsScore(string stage) => s_stages.Any(s => NameOf(s) == stage && Is(s, "TokenScoreAttribute"));

    private static Choice[] FindBases()
    {
        (int, string)[] blocks = [(Blocks, "StreamingBlocks"), (Kernel, "BlockSparseAttention"), (BlockSize, "128x128")];
        Choice dense = Choice.Dense;
        Choice compressed = dense.With((Compress, "GatherTokens"), (Decompress, "ScatterTokens"), (Tokens, "TokenCoverage"));
        Choice paired = compressed.With((Tokens, "RecentQueries"), (Budget, "TopP"), (Heads, "QueryHead"));
        return [dense, dense.With(blocks), compressed, compressed.With(blocks), paired, paired.With(blocks)];
    }

    private static IEnumerable<string> Stages(Func<INamedTypeSymbol, bool> holds) => s_stages.Where(holds).Select(NameOf);

    private static string NameOf(INamedTypeSymbol stage) => stage.Name[..^"Attribute".Length];

    private static bool Is(INamedTypeSymbol stage, params string[] kinds)
    {
        for (INamedTypeSymbol? type = stage.BaseType; type is not null; type = type.BaseType)
        {
            if (kinds.Contains(type.Name))
                return true;
        }
        return false;
    }

    private static IEnumerable<string> MembersOf(string name) =>
        Compiler.Compile().GetTypeByMetadataName($"AttnCompose.{name}")!.GetMembers().OfType<IFieldSymbol>().Select(field => field.Name);

    private static INamedTypeSymbol[] FindStages()
    {
        Compilation compilation = Compiler.Compile();
        IAssemblySymbol library = compilation.References.Select(compilation.GetAssemblyOrModuleSymbol).OfType<IAssemblySymbol>()
            .Single(assembly => assembly.Name == "AttnCompose.Pipelines");
        return [.. library.GlobalNamespace.GetNamespaceMembers().Single(n => n.Name == "AttnCompose").GetTypeMembers()
            .Where(type => !type.IsAbstract && Is(type, "StageAttribute")).OrderBy(type => type.Name, StringComparer.Ordinal)];
    }
}
