using AttnCompose.Cpu;
using AttnCompose.Pipelines;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Block selector of XAttention (arXiv 2503.16428): key blocks are ranked by antidiagonals of small squares of the attention map.
/// Every column and every diagonal of the map crosses them, so that they find both at a fraction 1 / <see cref="Stride"/> of the
/// products.
/// </summary>
/// <remarks>
/// <para>Queries and keys that take part are cut into groups of S = <see cref="Stride"/> rows.</para>
/// <list type="number">
/// <item>Score of a group m of queries with a group n of keys: the mean over s &lt; S of scale * query (m S + S - 1 - s) . key
/// (n S + s). Rows beyond the end count as 0.</item>
/// <item>Softmax of each group of queries over the groups of keys whose first key its last query may see. On the diagonal that
/// takes in some pairs that the mask does not leave, as the published code does.</item>
/// <item>Score of a pair of blocks: the mean over the groups of the query block of their sums over the key block.</item>
/// <item>Chosen: the first key block, the key blocks that hold the own key of one of the queries, and of the others the fewest, the
/// highest first, that hold with them <see cref="Threshold"/> of the sum.</item>
/// </list>
/// <para>The paper also searches a threshold for each head; here it is one for the call.</para>
/// <para>A query block whose scores are not finite visits everything. A mean of scores cannot see a rule, so a pipeline with rules
/// is refused. All of it counts rows that take part: after a token selection, of the compressed sequence. From the block scores on,
/// CPU and GPU choose alike, ties to the lower index.</para>
/// </remarks>
[DeviceStage("anti_diagonal.cuh", Type = "AntiDiagonal", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("group_sums", "float", Shape = "[blocks at work, 128, key blocks]")]
[DeviceBuffer("block_scores", "float", Shape = "[batch, query heads, query blocks, key blocks]")]
[DevicePhase("scores", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "key", "group_sums"],
    Writes = ["group_sums", "block_scores"],
    Summary = "softmax over antidiagonals by mma.sync, summed over pairs of blocks")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["block_scores"], Writes = ["block_list"],
    Parameters = ["Threshold"], Summary = "the fewest key blocks that hold Threshold of the sum, the first and the diagonal among them")]
public sealed class AntiDiagonalAttribute : BlockSelectorAttribute
{
    /// <summary>Groups of queries that a device's thread block scores at a time (<c>anti_diagonal.cuh</c>).</summary>
    private const int DeviceRows = 128;

    /// <summary>Groups of keys that it takes at a time.</summary>
    private const int DeviceColumns = 256;

    /// <summary>Thread blocks that share the tiles of all heads of a sequence, at most; at least one a head.</summary>
    private const int DeviceBlocks = 256;

    /// <summary>Share of the antidiagonals' attention that is covered, in [0, 1].</summary>
    [RuntimeParameter(0.9, Min = 0, Max = 1)]
    public double Threshold { get; set; }

    /// <summary>Rows of a group: 8 or 16, the values of the paper.</summary>
    [ConstantParameter(16, Min = 8, Max = 16, MultipleOf = 8)]
    public int Stride { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(workspace);
        int tileBlocks = DeviceColumns * Stride / kernel.BlockKey;
        long columns = (BlockBuffers.KeyBlocks(in shape, kernel) + tileBlocks - 1) / tileBlocks * tileBlocks;
        long tiles = ((long)shape.QueryLength + DeviceRows * Stride - 1) / (DeviceRows * Stride);
        long atWork = shape.Batch * Math.Min(tiles * shape.QueryHeads, Math.Max(DeviceBlocks, shape.QueryHeads));
        workspace.Add("group_sums", checked(atWork * DeviceRows * columns), sizeof(float));
        BlockBuffers.DescribeScores(in shape, kernel, workspace);
    }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
    {
        if (KernelWidth.Bits == 512)
            Run(in problem, new AntiDiagonalHeads<T, MicroKernel512>(in problem, cpu, blocks, this));
        else
            Run(in problem, new AntiDiagonalHeads<T, MicroKernel256>(in problem, cpu, blocks, this));

        void Run<TChoice>(in CpuInputs<T> problem, TChoice choice) where TChoice : struct, IHeadChoice =>
            BlockHeads.Run(in problem, cpu, rows, scores, blocks, choice);
    }
}
