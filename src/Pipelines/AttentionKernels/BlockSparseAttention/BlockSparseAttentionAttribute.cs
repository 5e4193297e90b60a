using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Attention over the key blocks that a block selector chose, and its columns and slashes, in one online softmax. Grouped-query
/// heads, full or causal mask, valid lengths, log-sum-exp, every fusion point; after a token selection, blocks of the compressed
/// sequence.
/// </summary>
/// <remarks>
/// Keys that a query's list leaves out are neither read nor computed, block by block; a column or a slash inside a visited block
/// counts once. A query that visits nothing gets 0 and log-sum-exp -inf. What is said of [FlashAttention] about memory,
/// repeatability and non-finite values holds here too.
/// </remarks>
[DeviceStage("block_sparse_attention.cuh", Type = "BlockSparseAttention",
    Offers = FusionPoint.RowSource | FusionPoint.Score | FusionPoint.RowDestination,
    Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("tile_lengths", "int", Shape = "[batch, query heads, query tiles, 2]")]
[DeviceBuffer("tile_order", "int", Shape = "[batch, query heads, query tiles, 2]")]
[DevicePhase("order", Scope = PhaseScope.QueryHead, Reads = ["tile_lengths"], Writes = ["tile_lengths", "tile_order"],
    Summary = "query tiles of a head, those that visit most first")]
[DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "key", "value", "tile_order"], Writes = ["output"],
    Summary = "online softmax over the listed blocks; wgmma on sm_90a at head dim 64, 96, 128, 192, 256, else mma.sync")]
public sealed class BlockSparseAttentionAttribute : BlockAttentionKernelAttribute
{
    /// <summary>Queries of a block: 64 or 128.</summary>
    [ConstantParameter(128, Min = 64, Max = 128, MultipleOf = 64)]
    public override int BlockQuery { get; set; } = 128;

    /// <summary>Keys of a block: 64 or 128.</summary>
    [ConstantParameter(128, Min = 64, Max = 128, MultipleOf = 64)]
    public override int BlockKey { get; set; } = 128;

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        const int SmallestTile = 64; // of the device's main loops
        long tiles = ((long)shape.QueryLength + SmallestTile - 1) / SmallestTile;
        workspace.Add("tile_order", checked(shape.Batch * shape.QueryHeads * tiles), 2 * sizeof(int));
        workspace.Add("tile_lengths", checked(shape.Batch * shape.QueryHeads * tiles), 2 * sizeof(int));
    }

    /// <inheritdoc/>
    public override void Attend<T, TOut, TRows, TScore, TDestination>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, BlockMask blocks, TScore scores, TDestination destination)
    {
        if (KernelWidth.Bits == 512)
            Run<MicroKernel512>(in problem);
        else
            Run<MicroKernel256>(in problem);

        void Run<TKernel>(in CpuProblem<T, TOut> problem) where TKernel : struct, IMicroKernel =>
            CpuFlashAttention.Run<T, TOut, TRows, ListedBlocks, TScore, TDestination, TKernel>(
                in problem, cpu, rows, new ListedBlocks(blocks), scores, destination);
    }
}
