namespace AttnCompose;

/// <summary>Token budget: every query head keeps a share <see cref="Ratio"/> of a sequence's tokens.</summary>
/// <remarks>
/// The number is Ratio times the tokens, rounded up. The window is among them, and is kept where it is longer.
/// </remarks>
[DeviceStage("fixed_ratio.cuh", Type = "FixedRatio")]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores", "token_index"], Writes = ["scores"],
    Summary = "average pool along the prefix")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["token_index"], Parameters = ["Ratio"],
    Summary = "each head's highest-scored prefix tokens and the window, ascending")]
public sealed class FixedRatioAttribute : RankedBudgetAttribute
{
    /// <summary>Share of a sequence's tokens that each query head keeps, in [0, 1].</summary>
    [RuntimeParameter(0.5, Min = 0, Max = 1)]
    public double Ratio { get; set; }

    /// <inheritdoc/>
    protected override bool MayDrop(int prefix, LayerPosition layer) => KeptOf(prefix + Score.Window) < prefix;

    /// <inheritdoc/>
    protected override void Kept(in RankedScores tokens, Span<int> kept) => kept.Fill(KeptOf(tokens.KeyLength));

    /// <inheritdoc/>
    protected override void CheckParameters() => Require(Ratio is >= 0 and <= 1, nameof(Ratio), Ratio, "in [0, 1]");

    private int KeptOf(int tokens) => (int)Math.Ceiling(Ratio * tokens) - Score.Window;
}
