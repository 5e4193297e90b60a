using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Compress stage: each query head sees its selected tokens, in ascending order, as one shorter sequence. Queries, keys and
/// values share the selection, so ordinary causal attention over the shorter sequence is exactly causal in the original
/// one (Token Sparse Attention, arXiv 2602.03216). Nothing is copied: rows are gathered as the attention loop loads them.
/// </summary>
[DeviceStage("gather_tokens.cuh", Type = "GatherTokens")]
[DeviceHook(FusionPoint.RowSource, Reads = ["token_index"], Summary = "rows of query, key and value are the selected tokens")]
public sealed class GatherTokensAttribute : CompressAttribute<GatheredRows>
{
    /// <inheritdoc/>
    public override GatheredRows Rows(TokenSelection selection) => new(selection);
}
