namespace AttnCompose;

/// <summary>
/// What one thread block of a device phase owns. The scope fixes the launch grid, and comparing scopes tells whether two
/// phases can share a kernel. A tile's length is exported by the emitted CUDA, never written down twice.
/// </summary>
public enum PhaseScope
{
    /// <summary>One block a sequence: grid (1, 1, batch).</summary>
    Sequence,

    /// <summary>One block a query head: grid (1, query heads, batch).</summary>
    QueryHead,

    /// <summary>One block a tile of keys, all heads of the layer: grid (key tiles, 1, batch).</summary>
    KeyTile,

    /// <summary>One block a tile of keys of one key/value head: grid (key tiles, key/value heads, batch).</summary>
    KeyValueHeadKeyTile,

    /// <summary>One block a tile of keys of one query head: grid (key tiles, query heads, batch).</summary>
    QueryHeadKeyTile,

    /// <summary>One block a tile of queries of one query head: grid (query tiles, query heads, batch).</summary>
    QueryHeadQueryTile,
}
