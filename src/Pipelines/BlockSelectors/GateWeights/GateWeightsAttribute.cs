using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Block selector of SeerAttention (arXiv 2410.13276): a learned gate scores pairs of blocks from pooled queries and keys. The
/// weights are the caller's, in each call.
/// </summary>
/// <remarks>
/// <list type="number">
/// <item>Gated query of a query block: its mean query times <c>query_gate</c> [query heads, head dim, gate dim] of the head.</item>
/// <item>Gated key of a key block: the largest, the least and the mean key, each per channel, one after the other, times
/// <c>key_gate</c> [query heads, 3, head dim, gate dim] of the query head.</item>
/// <item>Score: gated query . gated key / sqrt(gate dim). The scale of the attention does not enter.</item>
/// <item>Chosen: the first key block and the key blocks that hold the own key of one of the queries, and of the others that the mask
/// leaves the <see cref="Count"/> highest; where that is 0, those whose softmax over all that the mask leaves is at least
/// <see cref="Threshold"/>.</item>
/// </list>
/// <para>Each query head has gates of its own. Where the heads of a group share the keys' gate, the caller repeats it for each; the
/// gates published for Llama 3.1 have one for each query head and none for queries, so that <c>query_gate</c> is the identity. The
/// paper pools queries and keys before their rotary embedding and rotates the gated vectors of blocks instead. Here the gate sees
/// queries and keys as the call has them, and rotates nothing: rotated ones, as a rule, for which the gate has to be trained. Blocks
/// are those of the attention kernel; the paper's are of 64 rows.</para>
/// <para>A query block whose scores are not finite visits everything. A gate cannot see a rule, so a pipeline with rules is refused.
/// All of it counts rows that take part: after a token selection, of the compressed sequence. Ties go to the lower index.</para>
/// </remarks>
[DeviceStage("gate_weights.cuh", Type = "GateWeights", Elements = [ElementType.Float16, ElementType.BFloat16])]
[TensorArgument("query_gate", "float", Shape = ["QueryHeads", "HeadDim", "GateDim"],
    Summary = "projection of each head's mean queries")]
[TensorArgument("key_gate", "float", Shape = ["QueryHeads", "3", "HeadDim", "GateDim"],
    Summary = "projection of each head's largest, least and mean keys")]
[DeviceBuffer("gated_keys", "float", Shape = "[batch, query heads, key blocks, gate dim]")]
[DeviceBuffer("block_scores", "float", Shape = "[batch, query heads, query blocks, key blocks]")]
[DevicePhase("gate_keys", Scope = PhaseScope.KeyValueHeadKeyTile, Reads = ["key", "key_gate"], Writes = ["gated_keys"],
    Summary = "largest, least and mean key of each block through the gate")]
[DevicePhase("select", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "query_gate", "gated_keys", "block_scores"],
    Writes = ["block_scores", "block_list"], Parameters = ["Count", "Threshold"],
    Summary = "key blocks that the gate scores highest, the first and the diagonal: radix select or threshold, no sort")]
public sealed class GateWeightsAttribute : BlockSelectorAttribute
{
    /// <summary>Key blocks that a query block visits beside the forced ones; 0 where <see cref="Threshold"/> says which.</summary>
    [RuntimeParameter(0, Min = 0)]
    public int Count { get; set; }

    /// <summary>Share of a query block's softmax from which a key block is visited, in [0, 1]: 0 visits all.</summary>
    [RuntimeParameter(0.002, Min = 0, Max = 1)]
    public double Threshold { get; set; }

    /// <summary>Channels of gated queries and keys.</summary>
    [ConstantParameter(128, Min = 8, Max = 256, MultipleOf = 8)]
    public int GateDim { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(workspace);
        workspace.Add(
            "gated_keys", checked(BlockBuffers.Heads(in shape) * BlockBuffers.KeyBlocks(in shape, kernel) * GateDim), sizeof(float));
        BlockBuffers.DescribeScores(in shape, kernel, workspace);
    }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) =>
        BlockHeads.Run(in problem, cpu, rows, scores, blocks, new GateHeads<T>(in problem, cpu, blocks, this));
}
