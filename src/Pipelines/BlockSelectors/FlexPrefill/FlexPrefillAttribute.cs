using AttnCompose.Cpu;
using AttnCompose.Pipelines;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Block selector of FlexPrefill (arXiv 2502.20766). Each head finds out which of two patterns it follows, and visits as much as
/// covers a share <see cref="Gamma"/> of its attention: a <em>query-aware</em> head the pairs of blocks whose means attend to each
/// other, a <em>vertical-slash</em> head the columns and diagonals that its last queries attend to.
/// </summary>
/// <remarks>
/// <para>With B keys to a block, the last block of queries takes its softmax over all keys.</para>
/// <list type="number">
/// <item>Kind: the attention that these queries pay to each key block is compared with an estimate, softmax over the key blocks of
/// scale * mean query . mean key. Where the Jensen-Shannon distance (natural logarithm) is below <see cref="Tau"/> the estimate can
/// be trusted, and the head is query-aware.</item>
/// <item>Vertical-slash: n columns, the fewest that hold <see cref="Gamma"/> of the attention, become ceil(n / B) key blocks, those
/// with the highest sums. The same with diagonals and bands of B diagonals; a query block visits the key blocks that a chosen band
/// crosses. Both are at least ceil(<see cref="MinBudget"/> / B).</item>
/// <item>Query-aware: of the map between the means of all query and key blocks, each row a softmax over the key blocks that it may
/// see, the fewest pairs that hold <see cref="Gamma"/> of the sum, and the least number of vertical blocks and bands.</item>
/// <item>The first key block and the diagonal always.</item>
/// </list>
/// <para>A head whose scores are not finite visits everything. The pipeline's rules apply to the last queries' scores, not to
/// means. All of it counts rows that take part: after a token selection, of the compressed sequence. Meant for causal
/// pipelines: under a full mask the last queries' softmax is causal, and diagonals lead back.</para>
/// <para>From float32 sums on, CPU and GPU choose alike, ties to the lower index; the kind of a head hangs on a rounded
/// distance.</para>
/// </remarks>
[DeviceStage("flex_prefill.cuh", Type = "FlexPrefill", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("pooled_keys", "float", Shape = "[batch, query heads, key blocks, head dim]")]
[DeviceBuffer("row_partials", "float2", Shape = "[batch, query heads, key tiles, block of queries]")]
[DeviceBuffer("row_stats", "float2", Shape = "[batch, query heads, block of queries]")]
[DeviceBuffer("columns", "float", Shape = "[batch, query heads, key length]")]
[DeviceBuffer("diagonals", "float", Shape = "[batch, query heads, key tiles, diagonals of a tile]")]
[DeviceBuffer("fewest", "int", Shape = "[batch, query heads, 2]")]
[DeviceBuffer("block_scores", "float", Shape = "[batch, query heads, 3, key blocks]")]
[DeviceBuffer("sets", "unsigned long long", Shape = "[batch, query heads, 2, a bit a key block]")]
[DeviceBuffer("kinds", "int", Shape = "[batch, query heads]")]
[DeviceBuffer("map", "float", Shape = "[batch, query heads, query blocks, key blocks]")]
[DeviceBuffer("map_cuts", "unsigned", Shape = "[batch, query heads]")]
[DeviceBuffer("map_ties", "int", Shape = "[batch, query heads, query blocks]")]
[DevicePhase("pool_keys", Scope = PhaseScope.KeyValueHeadKeyTile, Reads = ["key"], Writes = ["pooled_keys"],
    Summary = "mean of each key block")]
[DevicePhase("row_partials", Scope = PhaseScope.KeyValueHeadKeySegment, Reads = ["query", "key"], Writes = ["row_partials"],
    AppliesRules = true, Summary = "row maximum and sum of the last queries over one tile of keys")]
[DevicePhase("row_stats", Scope = PhaseScope.QueryHead, Reads = ["row_partials"], Writes = ["row_stats"],
    Summary = "row maximum and sum of the last queries over all keys")]
[DevicePhase("sums", Scope = PhaseScope.KeyValueHeadKeySegment,
    Reads = ["query", "key", "row_stats"], Writes = ["columns", "diagonals"], AppliesRules = true,
    Summary = "probabilities of the last queries, summed along columns and diagonals")]
[DevicePhase("cover", Scope = PhaseScope.QueryHeadHalf, Reads = ["columns", "diagonals"], Writes = ["block_scores", "fewest"],
    Parameters = ["Gamma"],
    Summary = "sums of blocks, and how few columns and diagonals hold Gamma: mass-weighted radix descents in integers")]
[DevicePhase("choose", Scope = PhaseScope.QueryHead, Reads = ["query", "pooled_keys", "fewest", "block_scores"],
    Writes = ["block_scores", "sets", "kinds"], Parameters = ["Tau", "MinBudget"],
    Summary = "the head's kind, and the vertical blocks and bands of diagonals that cover Gamma")]
[DevicePhase("map_rows", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "kinds", "pooled_keys"], Writes = ["map"],
    Summary = "attention between block means, of query-aware heads")]
[DevicePhase("cut_map", Scope = PhaseScope.QueryHead, Reads = ["kinds", "map"], Writes = ["map_cuts", "map_ties"],
    Parameters = ["Gamma"], Summary = "the fewest pairs of the map that cover Gamma: mass-weighted radix descent in integers")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile,
    Reads = ["kinds", "sets", "map", "map_cuts", "map_ties"], Writes = ["block_list"],
    Summary = "the union of what the head's kind chose, first key block and diagonal")]
public sealed class FlexPrefillAttribute : BlockSelectorAttribute
{
    /// <summary>Share of the attention that is covered, in [0, 1].</summary>
    [RuntimeParameter(0.9, Min = 0, Max = 1)]
    public double Gamma { get; set; }

    /// <summary>Jensen-Shannon distance below which a head is query-aware, in [0, 1]; 0 makes every head vertical-slash.</summary>
    [RuntimeParameter(0.1, Min = 0, Max = 1)]
    public double Tau { get; set; }

    /// <summary>Columns, and diagonals, that are taken at least, in tokens.</summary>
    [RuntimeParameter(1024, Min = 0, Max = 1 << 30)]
    public int MinBudget { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(workspace);
        long heads = (long)shape.Batch * shape.QueryHeads;
        long keyBlocks = ((long)shape.KeyLength + kernel.BlockKey - 1) / kernel.BlockKey;
        long queryBlocks = ((long)shape.QueryLength + kernel.BlockQuery - 1) / kernel.BlockQuery;
        WindowBuffers.Describe(in shape, kernel.BlockQuery, workspace);
        workspace.Add("pooled_keys", checked(heads * keyBlocks * shape.HeadDim), sizeof(float));
        workspace.Add("fewest", heads * 2, sizeof(int));
        workspace.Add("block_scores", checked(heads * 3 * keyBlocks), sizeof(float));
        workspace.Add("sets", checked(heads * 2 * ((keyBlocks + 63) / 64)), sizeof(ulong));
        workspace.Add("kinds", heads, sizeof(int));
        workspace.Add("map", checked(heads * queryBlocks * keyBlocks), sizeof(float));
        workspace.Add("map_cuts", heads, sizeof(uint));
        workspace.Add("map_ties", checked(heads * queryBlocks), sizeof(int));
    }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
    {
        if (KernelWidth.Bits == 512)
            Run(in problem, new FlexPrefillHeads<T, TScore, MicroKernel512>(in problem, cpu, scores, blocks, this));
        else
            Run(in problem, new FlexPrefillHeads<T, TScore, MicroKernel256>(in problem, cpu, scores, blocks, this));

        void Run<TChoice>(in CpuInputs<T> problem, TChoice choice) where TChoice : struct, IHeadChoice =>
            BlockHeads.Run(in problem, cpu, rows, scores, blocks, choice);
    }
}
