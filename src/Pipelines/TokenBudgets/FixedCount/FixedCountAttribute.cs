namespace AttnCompose;

/// <summary>
/// Token budget: every query head keeps <see cref="Count"/> tokens of a sequence. For a cost that is known beforehand, and for
/// measurements at an exact share of the tokens.
/// </summary>
/// <remarks>
/// The window is among the <see cref="Count"/>, and is kept where it is longer. A sequence of fewer tokens is kept whole.
/// </remarks>
[DeviceStage("fixed_count.cuh", Type = "FixedCount")]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores", "token_index"], Writes = ["scores"],
    Summary = "average pool along the prefix")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["token_index"], Parameters = ["Count"],
    Summary = "each head's highest-scored prefix tokens and the window, ascending")]
public sealed class FixedCountAttribute : RankedBudgetAttribute
{
    /// <summary>Tokens of a sequence that each query head keeps, the window among them.</summary>
    [RuntimeParameter(4096, Min = 1)]
    public int Count { get; set; }

    /// <inheritdoc/>
    protected override bool MayDrop(int prefix, LayerPosition layer) => Count - Score.Window < prefix;

    /// <inheritdoc/>
    protected override void Kept(in RankedScores tokens, Span<int> kept) => kept.Fill(Count - Score.Window);

    /// <inheritdoc/>
    protected override void CheckParameters() => Require(Count >= 1, nameof(Count), Count, "at least 1");
}
