using System.Numerics.Tensors;
using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Block selector after MoBA (arXiv 2502.13189): each query block visits the <see cref="TopK"/> key blocks whose mean key its mean
/// query likes best, and the current one.
/// </summary>
/// <remarks>
/// <para>A key block's score is scale * mean query . mean key. <em>Current</em> are the key blocks that hold the own key of one of
/// the queries: one where blocks of queries and keys stand side by side, else two. They are visited anyway and do not count. Among
/// the other blocks that the mask leaves, ties go to the lower index.</para>
/// <para>MoBA lets each query token choose for itself, trains the model for it, and counts the current block among its k. Here the
/// queries of a block choose together, so that the choice is a list of blocks.</para>
/// <para>A query block whose scores are not finite visits everything. Scores between means cannot see a rule, so a pipeline with
/// rules is refused. All of it counts rows that take part: after a token selection, of the compressed sequence.</para>
/// </remarks>
[DeviceStage("pooled_top_k.cuh", Type = "PooledTopK", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("pooled_keys", "float", Shape = "[batch, query heads, key blocks, head dim]")]
[DeviceBuffer("block_scores", "float", Shape = "[batch, query heads, query blocks, key blocks]")]
[DevicePhase("pool_keys", Scope = PhaseScope.KeyValueHeadKeyTile, Reads = ["key"], Writes = ["pooled_keys"],
    Summary = "mean of each key block")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "pooled_keys", "block_scores"],
    Writes = ["block_scores", "block_list"], Parameters = ["TopK"],
    Summary = "key blocks whose mean the block's mean query likes best, and the current one: radix select, no sort")]
public sealed class PooledTopKAttribute : BlockSelectorAttribute
{
    /// <summary>Key blocks that a query block visits beside the current one.</summary>
    [RuntimeParameter(64, Min = 0)]
    public int TopK { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(workspace);
        BlockBuffers.DescribeKeys(in shape, kernel, workspace);
        BlockBuffers.DescribeScores(in shape, kernel, workspace);
    }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) =>
        BlockHeads.Run(in problem, cpu, rows, scores, blocks, new Choice<T>
        {
            TopK = TopK, Mask = problem.Mask, Blocks = blocks, Means = new(in problem, cpu, blocks),
        });

    private readonly struct Choice<T> : IHeadChoice
        where T : unmanaged
    {
        public required int TopK { get; init; }
        public required AttentionMask Mask { get; init; }
        public required BlockMask Blocks { get; init; }
        public required PooledBlocks<T> Means { get; init; }

        public void Choose(in RowSet rows, int batch, int head, int worker)
        {
            Means.PoolKeys(in rows, batch, head, worker);
            for (int index = 0; index < QueryBlock.Count(in rows, Blocks); index++)
            {
                var block = new QueryBlock(in rows, Blocks, Mask, index);
                Span<ulong> visit = Blocks.Visit(batch, head, index);
                Span<float> row = Means.ScoreRow(in rows, batch, head, worker, in block);
                if (!TensorPrimitives.IsFiniteAll<float>(row))
                {
                    BlockWords.SetRange(visit, 0, block.KeyBlocks);
                    continue;
                }
                for (int j = 0; j < row.Length; j++)
                {
                    if (!block.HoldsDiagonal(j))
                        continue;
                    BlockWords.Set(visit, j);
                    row[j] = float.NegativeInfinity;
                }
                BlockChoice.Mark(row, BlockChoice.Highest(row, TopK), visit);
            }
        }
    }
}
