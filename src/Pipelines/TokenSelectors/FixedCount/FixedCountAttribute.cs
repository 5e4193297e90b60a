namespace AttnCompose;

/// <summary>
/// Token selector with a given budget: every query head keeps <see cref="Count"/> tokens of a sequence, those that the last
/// queries attend to most, scored and ranked as <see cref="TokenCoverageAttribute"/> does (Token Sparse Attention, arXiv
/// 2602.03216). For a cost that is known beforehand, and for measurements at an exact share of the tokens.
/// </summary>
/// <remarks>
/// The last <see cref="RecentQueriesSelectorAttribute.Window"/> tokens are among the <see cref="Count"/>, and are kept where it
/// is smaller. A sequence of fewer tokens is kept whole.
/// </remarks>
[DeviceStage("fixed_count.cuh", Type = "FixedCount", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores"], Writes = ["scores"],
    Summary = "average pool along the prefix")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["token_index"], Parameters = ["Count"],
    Summary = "each head's highest-scored prefix tokens and the window, ascending")]
public sealed class FixedCountAttribute : RecentQueriesSelectorAttribute
{
    /// <summary>Tokens of a sequence that each query head keeps, the window among them.</summary>
    [RuntimeParameter(4096, Min = 1)]
    public int Count { get; set; }

    /// <inheritdoc/>
    protected override bool MayDrop(int prefix) => KeptOf(prefix) < prefix;

    /// <inheritdoc/>
    protected override int KeptPrefix(ReadOnlySpan<float> mean) => KeptOf(mean.Length);

    /// <inheritdoc/>
    protected override void CheckParameters()
    {
        base.CheckParameters();
        Require(Count >= 1, nameof(Count), Count, "at least 1");
    }

    private int KeptOf(int prefix) => Math.Clamp(Count - Window, 0, prefix);
}
