using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Compress stage: each query head sees its selected tokens, in ascending order, as one shorter sequence. Queries, keys and
/// values share the selection, so ordinary causal attention over the shorter sequence is exactly causal in the original
/// one (Token Sparse Attention, arXiv 2602.03216). Rows are gathered as the attention loop loads them, and nothing is copied;
/// long sequences on a GPU with a copy engine have their keys and values gathered ahead of the loop.
/// </summary>
[DeviceStage("gather_tokens.cuh", Type = "GatherTokens")]
[DeviceHook(FusionPoint.RowSource, Reads = ["token_index"], Summary = "rows of query, key and value are the selected tokens")]
[DeviceGather("GatheredTokens", Key = "gathered_key", Value = "gathered_value", Reads = ["heads", "token_index"],
    Summary = "rows of query are the selected tokens, keys and values come by tensor maps of what was gathered")]
[DeviceBuffer("gathered_key", "element", Shape = "[heads at a time, key length, head dim]")]
[DeviceBuffer("gathered_value", "element", Shape = "[heads at a time, key length, head dim]")]
[DevicePhase("gather", Scope = PhaseScope.QueryHeadKeyTile, Reads = ["heads", "key", "value", "token_index"],
    Writes = ["gathered_key", "gathered_value"], Summary = "selected rows of key and value side by side, zeroes after them")]
public sealed class GatherTokensAttribute : CompressAttribute<GatheredRows>
{
    private const int ElementBytes = 2;

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(workspace);
        long rows = (long)shape.Batch * shape.QueryHeads * shape.KeyLength;
        workspace.Add("gathered_key", checked(rows * shape.HeadDim), ElementBytes);
        workspace.Add("gathered_value", checked(rows * shape.HeadDim), ElementBytes);
    }

    /// <inheritdoc/>
    public override GatheredRows Rows(TokenSelection selection) => new(selection);
}
