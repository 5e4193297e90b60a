namespace AttnCompose;

/// <summary>
/// What one thread block of a device phase owns. The scope fixes the launch grid, and comparing scopes tells whether two
/// phases can share a kernel. The length of a tile, and how many blocks a team has at most, are exported by the emitted CUDA,
/// never written down twice.
/// </summary>
public enum PhaseScope
{
    /// <summary>One block, or a team of blocks, a sequence: grid (team, 1, batch).</summary>
    Sequence,

    /// <summary>One block, or a team of blocks, a query head: grid (team, query heads, batch).</summary>
    QueryHead,

    /// <summary>One block a tile of keys, all heads of the layer: grid (key tiles, 1, batch).</summary>
    KeyTile,

    /// <summary>One block a tile of keys of one key/value head: grid (key tiles, key/value heads, batch).</summary>
    KeyValueHeadKeyTile,

    /// <summary>One block a tile of keys of one query head: grid (key tiles, query heads, batch).</summary>
    QueryHeadKeyTile,

    /// <summary>
    /// One block a segment of the keys of one key/value head, a run of tiles, or of tiles of each of its query heads: grid (segments,
    /// key/value heads times the parts that their query heads are cut into, batch), with as many segments as fill the device.
    /// </summary>
    KeyValueHeadKeySegment,

    /// <summary>One block a tile of queries of one query head: grid (query tiles, query heads, batch).</summary>
    QueryHeadQueryTile,

    /// <summary>
    /// One block, or a team of blocks, one of the two halves of the work of a query head: grid (team, 2 query heads, batch), half
    /// y % 2 of head y / 2.
    /// </summary>
    QueryHeadHalf,
}
