namespace AttnCompose.Conformance;

/// <summary>
/// What each block selector chooses, by its definition: plain loops in double over the rows of one query head, pair of query and
/// key by pair. Results are [query blocks, key blocks].
/// </summary>
public static class BlockSelectionOracle
{
    /// <summary>Sinks and a local window.</summary>
    public static bool[,] Streaming(BlockHead head, int sink, int local) =>
        head.Where((d, key) => key < sink || (d - key < local && (head.Causal || key - d < local)));
}
