using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Decompress stage: a computed row goes to its token's place in the original sequence; the rows of tokens that a head did
/// not select are exactly +0 (and their log-sum-exp -inf), so that such a token's hidden state passes through the residual
/// (Token Sparse Attention, arXiv 2602.03216). Nothing is learned.
/// </summary>
[DeviceStage("scatter_tokens.cuh", Type = "ScatterTokens")]
[DeviceHook(FusionPoint.RowDestination, Reads = ["token_index"], Summary = "rows go back to their places, +0 elsewhere")]
public sealed class ScatterTokensAttribute : DecompressAttribute<ScatteredRows>
{
    /// <inheritdoc/>
    public override ScatteredRows Destination(TokenSelection selection) => default;
}
