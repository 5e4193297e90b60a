using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Token budget of Token Sparse Attention (arXiv 2602.03216) over any score: all heads of a layer keep equally many tokens; the
/// least important ones, which together hold at most <see cref="Coverage"/> of the layer's mean score, are dropped. With
/// <see cref="RecentQueriesAttribute"/> it chooses what <see cref="TokenCoverageAttribute"/> does.
/// </summary>
/// <remarks>How the number follows from the mean of the scores is said there.</remarks>
[DeviceStage("coverage.cuh", Type = "Coverage")]
[DeviceBuffer("mean_scores", "float", Shape = "[batch, key length]")]
[DeviceBuffer("budget", "int", Shape = "[batch]")]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores", "token_index"], Writes = ["scores", "mean_scores"],
    Summary = "average pool along the prefix, then the mean over heads")]
[DevicePhase("budget", Scope = PhaseScope.Sequence, Reads = ["mean_scores"], Writes = ["budget"],
    Parameters = ["Coverage", "MinTokens"],
    Summary = "how many tokens the layer keeps: mass-weighted radix descent in integers")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores", "budget"], Writes = ["token_index"],
    Summary = "each head's highest-scored prefix tokens and the window, ascending")]
public sealed class CoverageAttribute : RankedBudgetAttribute
{
    /// <summary>Share of the layer's score over the prefix that is dropped, in [0, 1]; 0 keeps everything.</summary>
    [RuntimeParameter(0.005, Min = 0, Max = 1)]
    public double Coverage { get; set; }

    /// <summary>Prefix tokens that are kept whatever the scores say; the window comes on top.</summary>
    [RuntimeParameter(1024, Min = 0)]
    public int MinTokens { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        base.DescribeWorkspace(in shape, workspace);
        workspace.Add("mean_scores", (long)shape.Batch * shape.KeyLength, sizeof(float));
        workspace.Add("budget", shape.Batch, sizeof(int));
    }

    /// <inheritdoc/>
    protected override bool MayDrop(int prefix, LayerPosition layer) => prefix > MinTokens && Coverage > 0;

    /// <inheritdoc/>
    protected override void Kept(in RankedScores tokens, Span<int> kept) =>
        kept.Fill(TokenBudget.KeptPrefix(tokens.Mean, Coverage, MinTokens));

    /// <inheritdoc/>
    protected override void CheckParameters()
    {
        Require(Coverage is >= 0 and <= 1, nameof(Coverage), Coverage, "in [0, 1]");
        Require(MinTokens >= 0, nameof(MinTokens), MinTokens, "at least 0");
    }
}
