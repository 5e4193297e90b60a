using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Block selector: attention sinks and a local window (StreamingLLM, arXiv 2309.17453), the A-shape of MInference (arXiv
/// 2407.02490), whose sizes are the defaults. A query block visits every key block that holds one of the first <see cref="Sink"/>
/// keys, or one of the last <see cref="Local"/> keys of one of its queries. No score is looked at, so it costs next to nothing.
/// </summary>
/// <remarks>
/// Sizes count the rows that take part: after a token selection, of the compressed sequence. Under a full mask the window reaches
/// <see cref="Local"/> keys in both directions. CPU and GPU choose the same blocks. With
/// <see cref="AttentionArguments{T, TOut}.DenseHeads"/> it is the prefill of DuoAttention (arXiv 2410.10819): those heads see
/// everything, the others stream.
/// </remarks>
[DeviceStage("streaming_blocks.cuh", Type = "StreamingBlocks")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Writes = ["block_list"], Parameters = ["Sink", "Local"],
    Summary = "key blocks of the first keys and of the window before each query")]
public sealed class StreamingBlocksAttribute : BlockSelectorAttribute
{
    /// <summary>Keys at the beginning that every query sees, in tokens.</summary>
    [RuntimeParameter(1024, Min = 0)]
    public int Sink { get; set; }

    /// <summary>Keys before each query that it sees, itself among them, in tokens.</summary>
    [RuntimeParameter(4096, Min = 1)]
    public int Local { get; set; }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) =>
        BlockHeads.Run(in problem, cpu, rows, scores, blocks, new Choice { Stage = this, Mask = problem.Mask, Blocks = blocks });

    private readonly struct Choice : IHeadChoice
    {
        public required StreamingBlocksAttribute Stage { get; init; }
        public required AttentionMask Mask { get; init; }
        public required BlockMask Blocks { get; init; }

        public void Choose(in RowSet rows, int batch, int head, int worker)
        {
            int sinks = (int)(((long)Stage.Sink + Blocks.BlockKey - 1) / Blocks.BlockKey);
            for (int index = 0; index < QueryBlock.Count(in rows, Blocks); index++)
            {
                var block = new QueryBlock(in rows, Blocks, Mask, index);
                // Reckoned in 64 bits: a window may be as long as an int.
                long first = Math.Max(0, (long)block.FirstDiagonal - Stage.Local + 1);
                long last = block.LastDiagonal + (Mask == AttentionMask.Causal ? 0L : Stage.Local - 1L);
                Span<ulong> visit = Blocks.Visit(batch, head, index);
                BlockWords.SetRange(visit, 0, Math.Min(sinks, block.KeyBlocks));
                if (first > last)
                    continue;
                BlockWords.SetRange(
                    visit, (int)(first / Blocks.BlockKey), (int)Math.Min(last / Blocks.BlockKey + 1, block.KeyBlocks));
            }
        }
    }
}
