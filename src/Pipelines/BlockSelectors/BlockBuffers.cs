namespace AttnCompose.Pipelines;

/// <summary>Workspace of device phases that score blocks (<c>attncompose/block_lists/pooled_rows.cuh</c>).</summary>
internal static class BlockBuffers
{
    /// <summary>Key blocks of a sequence.</summary>
    public static long KeyBlocks(in ProblemShape shape, BlockAttentionKernelAttribute kernel) =>
        ((long)shape.KeyLength + kernel.BlockKey - 1) / kernel.BlockKey;

    /// <summary>Adds <c>pooled_keys</c>, the mean of each key block of a head.</summary>
    public static void DescribeKeys(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace) =>
        workspace.Add("pooled_keys", checked(Heads(in shape) * KeyBlocks(in shape, kernel) * shape.HeadDim), sizeof(float));

    /// <summary>Adds <c>block_scores</c>, a number for each pair of blocks of a head.</summary>
    public static void DescribeScores(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace)
    {
        long queryBlocks = ((long)shape.QueryLength + kernel.BlockQuery - 1) / kernel.BlockQuery;
        workspace.Add("block_scores", checked(Heads(in shape) * queryBlocks * KeyBlocks(in shape, kernel)), sizeof(float));
    }

    /// <summary>Query heads of all sequences.</summary>
    public static long Heads(in ProblemShape shape) => (long)shape.Batch * shape.QueryHeads;
}
