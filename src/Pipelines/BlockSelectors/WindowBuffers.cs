namespace AttnCompose.Pipelines;

/// <summary>Workspace of the device phases that sum a window's map (<c>attncompose/block_lists/window_map.cuh</c>).</summary>
internal static class WindowBuffers
{
    private const int MostQueries = 128;

    /// <summary>
    /// Adds <c>row_partials</c>, <c>row_stats</c>, <c>columns</c> and <c>diagonals</c> for a window of some queries.
    /// </summary>
    public static void Describe(in ProblemShape shape, int window, WorkspaceLayout workspace)
    {
        int keyTile = shape.HeadDim <= 128 ? 128 : 64;
        long heads = (long)shape.Batch * shape.QueryHeads, tiles = ((long)shape.KeyLength + keyTile - 1) / keyTile;
        workspace.Add("row_partials", checked(heads * tiles * window), 2 * sizeof(float));
        workspace.Add("row_stats", checked(heads * window), 2 * sizeof(float));
        workspace.Add("columns", checked(heads * shape.KeyLength), sizeof(float));
        workspace.Add("diagonals", checked(heads * tiles * (MostQueries + keyTile)), sizeof(float));
    }
}
