using AttnCompose.Generators.Ir;

namespace AttnCompose.Generators.Plan;

/// <summary>What a block owns, in words for plans and comments.</summary>
internal static class ScopeWords
{
    /// <summary>In which calls a kernel is launched, after "launched".</summary>
    /// <param name="path">The calls.</param>
    /// <param name="length">What to say of the gather length.</param>
    public static string Of(KernelPath path, string length = "") => path == KernelPath.InLoop
        ? $"below the gather length{length}, and without a copy engine"
        : $"from the gather length{length} on with a copy engine, for some heads at a time";

    /// <summary>In which tiles the attention loop of a pipeline runs, and why.</summary>
    public static string TilesOf(StageGraph graph, KernelPath path) =>
        graph.BlockSelector is not null ? "fixed by the head dim: they divide blocks"
        : graph.Rules.Any ? "fixed by the head dim: rules want registers"
        : path == KernelPath.InLoop ? "fixed by the head dim: rows are copied one by one"
        : "CudaTuning.AttentionTile where wgmma runs, or the default of the head dim";

    public static string Of(PhaseScope scope) => scope switch
    {
        PhaseScope.Sequence => "sequence",
        PhaseScope.QueryHead => "query head",
        PhaseScope.KeyTile => "tile of keys",
        PhaseScope.QueryHeadKeyTile => "tile of keys of a query head",
        PhaseScope.KeyValueHeadKeyTile => "tile of keys of a key/value head",
        PhaseScope.QueryHeadHalf => "half of a query head",
        PhaseScope.KeyValueHeadKeySegment => "segment of the keys of a key/value head",
        _ => "tile of queries of a query head",
    };
}
