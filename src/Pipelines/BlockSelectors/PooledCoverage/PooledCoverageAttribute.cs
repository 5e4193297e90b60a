using System.Numerics.Tensors;
using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Block selector after SpargeAttn (arXiv 2502.18137): the attention map between block means says which blocks hold a share
/// <see cref="Tau"/> of a query block's attention. Where the rows of a block are not alike their mean says little, and such blocks
/// are always computed.
/// </summary>
/// <remarks>
/// <list type="number">
/// <item>Similarity of a block of queries or keys: the mean cosine over all pairs of its rows, a row with itself among them. A
/// block is <em>similar</em> where that is at least <see cref="Theta"/>.</item>
/// <item>Map: softmax of scale * mean query . mean key over the similar key blocks that the mask leaves to a query block.</item>
/// <item>Chosen: the fewest of these, the highest first, that hold <see cref="Tau"/> of the sum; every key block that is not
/// similar; every key block for a query block that is not similar; and the key blocks that hold the own key of one of the
/// queries.</item>
/// </list>
/// <para>The paper takes the blocks whose running sum is at most tau, so one less; it does not single out the diagonal. Its second
/// step, which leaves out products with values by their size inside the kernel, is none of a selector's.</para>
/// <para>A query block whose map is not finite visits everything. Means cannot see a rule, so a pipeline with rules is refused. All
/// of it counts rows that take part: after a token selection, of the compressed sequence. Ties go to the lower index.</para>
/// </remarks>
[DeviceStage("pooled_coverage.cuh", Type = "PooledCoverage", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("pooled_keys", "float", Shape = "[batch, query heads, key blocks, head dim]")]
[DeviceBuffer("similarities", "float", Shape = "[batch, query heads, key blocks]")]
[DeviceBuffer("block_scores", "float", Shape = "[batch, query heads, query blocks, key blocks]")]
[DevicePhase("pool_keys", Scope = PhaseScope.KeyValueHeadKeyTile, Reads = ["key"], Writes = ["pooled_keys", "similarities"],
    Summary = "mean of each key block, and how alike its keys are")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "pooled_keys", "similarities", "block_scores"],
    Writes = ["block_scores", "block_list"], Parameters = ["Tau", "Theta"],
    Summary = "the fewest key blocks that hold Tau of the map between means, and those that are not similar")]
public sealed class PooledCoverageAttribute : BlockSelectorAttribute
{
    /// <summary>Share of the map's row that is covered, in [0, 1].</summary>
    [RuntimeParameter(0.9, Min = 0, Max = 1)]
    public double Tau { get; set; }

    /// <summary>Mean cosine from which a block's mean is trusted, in [-1, 1]: 0 trusts every block.</summary>
    [RuntimeParameter(0.3, Min = -1, Max = 1)]
    public double Theta { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(workspace);
        BlockBuffers.DescribeKeys(in shape, kernel, workspace);
        workspace.Add(
            "similarities", checked(BlockBuffers.Heads(in shape) * BlockBuffers.KeyBlocks(in shape, kernel)), sizeof(float));
        BlockBuffers.DescribeScores(in shape, kernel, workspace);
    }

    /// <inheritdoc/>
    public override unsafe void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) =>
        BlockHeads.Run(in problem, cpu, rows, scores, blocks, new Choice<T>
        {
            Stage = this, Mask = problem.Mask, Blocks = blocks, Means = new(in problem, cpu, blocks),
            Similarities = cpu.Scratch<float>((long)cpu.Workers.Count * blocks.KeyBlocks),
        });

    private unsafe struct Choice<T> : IHeadChoice
        where T : unmanaged
    {
        public required PooledCoverageAttribute Stage;
        public required AttentionMask Mask;
        public required BlockMask Blocks;
        public required PooledBlocks<T> Means;
        public required float* Similarities; // [workers][key blocks]

        public readonly void Choose(in RowSet rows, int batch, int head, int worker)
        {
            var similarities = new Span<float>(Similarities + (long)worker * Blocks.KeyBlocks, Blocks.KeyBlocks);
            Means.PoolKeys(in rows, batch, head, worker, similarities);
            for (int index = 0; index < QueryBlock.Count(in rows, Blocks); index++)
            {
                var block = new QueryBlock(in rows, Blocks, Mask, index);
                Span<ulong> visit = Blocks.Visit(batch, head, index);
                if (!Cover(in rows, batch, head, worker, in block, similarities, visit))
                    BlockWords.SetRange(visit, 0, block.KeyBlocks);
            }
        }

        // False where the means say nothing.
        private readonly bool Cover(
            in RowSet rows, int batch, int head, int worker, in QueryBlock block, ReadOnlySpan<float> similarities,
            Span<ulong> visit)
        {
            if (block.KeyBlocks == 0)
                return true;
            if (!IsSimilar(Means.SimilarityOfQueries(in rows, batch, head, worker, in block)))
                return false;
            Span<float> row = Means.ScoreRow(in rows, batch, head, worker, in block);
            for (int j = 0; j < row.Length; j++)
            {
                if (!IsSimilar(similarities[j]))
                    row[j] = float.NegativeInfinity;
            }
            PooledRows.Softmax(row);
            if (!TensorPrimitives.IsFiniteAll<float>(row))
                return false;
            BlockChoice.Mark(row, BlockChoice.Covering(row, Stage.Tau), visit);
            for (int j = 0; j < row.Length; j++)
            {
                if (block.HoldsDiagonal(j) || !IsSimilar(similarities[j]))
                    BlockWords.Set(visit, j);
            }
            return true;
        }

        // NaN is not.
        private readonly bool IsSimilar(float similarity) => similarity >= Stage.Theta;
    }
}
