using AttnCompose.Cpu;

namespace AttnCompose.Samples;

/// <summary>
/// Block selector of a fixed pattern, after the strided one of Sparse Transformers (arXiv 1904.10509): a query block visits the key
/// blocks that hold its own keys, and of the others each one whose distance to them is a multiple of <see cref="Stride"/>.
/// </summary>
/// <remarks>Blocks count the rows that take part: after a token selection, of the compressed sequence.</remarks>
[DeviceStage("strided_blocks.cuh", Type = "StridedBlocks")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Writes = ["block_list"], Parameters = ["Stride"],
    Summary = "the block of each query and every so many blocks away")]
public sealed class StridedBlocksAttribute : BlockSelectorAttribute
{
    /// <summary>Blocks from one that is visited to the next.</summary>
    [RuntimeParameter(4, Min = 1)]
    public int Stride { get; set; }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        var work = new HeadWork<T, TRows>
        {
            // Where the pipeline has rules they decide within the blocks.
            Problem = problem, Rows = rows, Blocks = blocks, Stride = Stride, IsPartial = !TScore.IsIdentity,
        };
        cpu.Workers.Run(ref work, problem.Shape.Batch * problem.Shape.QueryHeads);
    }

    /// <summary>One query head of one sequence at a time.</summary>
    private struct HeadWork<T, TRows> : ICpuWork
        where T : unmanaged
        where TRows : struct, IRowSource
    {
        public required CpuInputs<T> Problem;
        public required TRows Rows;
        public required BlockMask Blocks;
        public required int Stride;
        public required bool IsPartial;

        public readonly void Execute(int item, int worker)
        {
            (int batch, int head) = Math.DivRem(item, Problem.Shape.QueryHeads);
            SequenceShape sequence = Problem.Sequence(batch);
            RowSet rows = Rows.Rows(in sequence, batch, head);
            bool isDense = Blocks.DenseHeads.Contains(head);
            for (int index = 0; index * Blocks.BlockQuery < rows.QueryCount; index++)
            {
                // The own keys of the block's queries.
                int first = rows.QueryBegin + index * Blocks.BlockQuery;
                int last = Math.Min(first + Blocks.BlockQuery, rows.KeyCount) - 1;
                int end = Problem.Mask == AttentionMask.Causal ? last + 1 : rows.KeyCount;
                int nearest = Math.Max(first, 0) / Blocks.BlockKey;
                for (int block = 0; block * Blocks.BlockKey < end; block++)
                {
                    bool isOwn = block >= nearest && block * Blocks.BlockKey <= last;
                    if (isDense || isOwn || (block - nearest) % Stride == 0)
                        Blocks.Add(batch, head, index, block, IsPartial);
                }
            }
        }
    }
}
