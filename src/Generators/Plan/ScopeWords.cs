namespace AttnCompose.Generators.Plan;

/// <summary>What a block owns, in words for plans and comments.</summary>
internal static class ScopeWords
{
    public static string Of(PhaseScope scope) => scope switch
    {
        PhaseScope.Sequence => "sequence",
        PhaseScope.QueryHead => "query head",
        PhaseScope.KeyTile => "tile of keys",
        PhaseScope.KeyValueHeadKeyTile => "tile of keys of a key/value head",
        PhaseScope.KeyValueHeadKeySegment => "segment of the keys of a key/value head",
        _ => "tile of queries of a query head",
    };
}
