using AttnCompose.Cpu;
using AttnCompose.Pipelines;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Block selector: the columns and diagonals that a head's last queries attend to most, the vertical-slash pattern of MInference
/// (arXiv 2407.02490). The last <see cref="LastQueries"/> queries take their softmax over all keys; the
/// <see cref="VerticalSize"/> keys with the highest column sums are visited by every query, and the <see cref="SlashSize"/>
/// distances with the highest diagonal sums by every query at that distance.
/// </summary>
/// <remarks>
/// <para>Columns are single keys. Diagonals are taken in blocks, as in the paper's kernel: a query block visits every key block
/// that one of the chosen diagonals crosses. The first <see cref="ForcedVertical"/> columns and <see cref="ForcedSlash"/> diagonals
/// are always among the chosen, and count.</para>
/// <para>The pipeline's rules apply to the scores. All of it counts rows that take part: after a token selection, of the compressed
/// sequence. The window's softmax is causal, and diagonals lead back, under a full mask too: meant for causal pipelines.</para>
/// <para>From the float32 sums on, CPU and GPU choose alike, ties to the lower index.</para>
/// </remarks>
[DeviceStage("vertical_slash.cuh", Type = "VerticalSlash", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("row_partials", "float2", Shape = "[batch, query heads, key tiles, last queries]")]
[DeviceBuffer("row_stats", "float2", Shape = "[batch, query heads, last queries]")]
[DeviceBuffer("columns", "float", Shape = "[batch, query heads, key length]")]
[DeviceBuffer("diagonals", "float", Shape = "[batch, query heads, key tiles, diagonals of a tile]")]
[DeviceBuffer("slash_set", "unsigned long long", Shape = "[batch, query heads, a bit a diagonal]")]
[DevicePhase("row_partials", Scope = PhaseScope.KeyValueHeadKeySegment, Reads = ["query", "key"], Writes = ["row_partials"],
    AppliesRules = true, Summary = "row maximum and sum of the last queries over one tile of keys")]
[DevicePhase("row_stats", Scope = PhaseScope.QueryHead, Reads = ["row_partials"], Writes = ["row_stats"],
    Summary = "row maximum and sum of the last queries over all keys")]
[DevicePhase("sums", Scope = PhaseScope.KeyValueHeadKeySegment,
    Reads = ["query", "key", "row_stats"], Writes = ["columns", "diagonals"], AppliesRules = true,
    Summary = "probabilities of the last queries, summed along columns and diagonals")]
[DevicePhase("choose", Scope = PhaseScope.QueryHead, Reads = ["columns", "diagonals"], Writes = ["block_list", "slash_set"],
    Parameters = ["VerticalSize", "SlashSize", "ForcedVertical", "ForcedSlash"],
    Summary = "the highest columns, ascending, and the highest diagonals: radix select, no sort")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["slash_set"], Writes = ["block_list"],
    Summary = "key blocks that a chosen diagonal crosses")]
public sealed class VerticalSlashAttribute : BlockSelectorAttribute
{
    /// <summary>Columns that a head chooses, in keys (k_v in the paper).</summary>
    [RuntimeParameter(1000, Min = 0)]
    public int VerticalSize { get; set; }

    /// <summary>Diagonals that a head chooses, in keys (k_s in the paper).</summary>
    [RuntimeParameter(6096, Min = 0)]
    public int SlashSize { get; set; }

    /// <summary>First columns that are always chosen, in keys.</summary>
    [RuntimeParameter(30, Min = 0)]
    public int ForcedVertical { get; set; }

    /// <summary>Nearest diagonals that are always chosen, the own key's first, in keys; at least that one.</summary>
    [RuntimeParameter(100, Min = 1)]
    public int ForcedSlash { get; set; }

    /// <summary>Queries at the end of a sequence that score (last_q in the paper).</summary>
    [ConstantParameter(64, Min = 1, Max = 128)]
    public int LastQueries { get; set; }

    /// <inheritdoc/>
    public override bool HasColumns => true;

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        WindowBuffers.Describe(in shape, LastQueries, workspace);
        long words = ((long)shape.KeyLength + 63) / 64;
        workspace.Add("slash_set", checked((long)shape.Batch * shape.QueryHeads * words), sizeof(ulong));
    }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
    {
        if (KernelWidth.Bits == 512)
            Select<T, TRows, TScore, MicroKernel512>(in problem, cpu, rows, scores, blocks);
        else
            Select<T, TRows, TScore, MicroKernel256>(in problem, cpu, rows, scores, blocks);
    }

    private unsafe void Select<T, TRows, TScore, TKernel>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
        where T : unmanaged
        where TRows : struct, IRowSource
        where TScore : struct, IScoreHook
        where TKernel : struct, IMicroKernel
    {
        int keys = problem.Shape.KeyLength;
        BlockHeads.Run(in problem, cpu, rows, scores, blocks, new Choice<T, TScore, TKernel>
        {
            Stage = this, Mask = problem.Mask, Blocks = blocks, Keys = keys, Map = new(in problem, cpu, scores, LastQueries),
            Columns = cpu.Scratch<int>((long)cpu.Workers.Count * keys),
            Slashes = cpu.Scratch<ulong>((long)cpu.Workers.Count * BlockWords.Count(keys)),
        });
    }

    private unsafe struct Choice<T, TScore, TKernel> : IHeadChoice
        where T : unmanaged
        where TScore : struct, IScoreHook
        where TKernel : struct, IMicroKernel
    {
        public required VerticalSlashAttribute Stage;
        public required AttentionMask Mask;
        public required BlockMask Blocks;
        public required int Keys;
        public required WindowMap<T, TScore, TKernel> Map;
        public required int* Columns;   // [workers][keys]
        public required ulong* Slashes; // [workers][words]

        public readonly void Choose(in RowSet rows, int batch, int head, int worker)
        {
            Map.Sum(in rows, batch, head, worker, out Span<float> columns, out Span<float> slashes);
            columns[..Math.Min(Stage.ForcedVertical, columns.Length)].Fill(float.PositiveInfinity);
            Cut cut = BlockChoice.Highest(columns, Math.Max(Stage.VerticalSize, Stage.ForcedVertical));
            var chosen = new Span<int>(Columns + (long)worker * Keys, cut.Kept);
            BlockChoice.Collect(columns, cut, chosen);
            Blocks.SetColumns(batch, head, chosen);

            slashes[..Math.Min(Stage.ForcedSlash, slashes.Length)].Fill(float.PositiveInfinity);
            var set = new Span<ulong>(Slashes + (long)worker * BlockWords.Count(Keys), BlockWords.Count(Keys));
            set.Clear();
            BlockChoice.Mark(slashes, BlockChoice.Highest(slashes, Math.Max(Stage.SlashSize, Stage.ForcedSlash)), set);
            for (int index = 0; index < QueryBlock.Count(in rows, Blocks); index++)
            {
                var block = new QueryBlock(in rows, Blocks, Mask, index);
                Span<ulong> visit = Blocks.Visit(batch, head, index);
                for (int j = 0; j < block.KeyBlocks; j++)
                {
                    int firstKey = j * Blocks.BlockKey, lastKey = Math.Min(firstKey + Blocks.BlockKey, rows.KeyCount) - 1;
                    if (BlockWords.Any(set, block.FirstDiagonal - lastKey, block.LastDiagonal - firstKey, rows.KeyCount))
                        BlockWords.Set(visit, j);
                }
            }
        }
    }
}
