namespace AttnCompose;

/// <summary>
/// Token budget whose count falls with the layer, as in PyramidKV (arXiv 2406.02069): low layers spread their attention, high
/// ones gather it in few tokens. Each call says its layer: <see cref="AttentionArguments{T, TOut}.Layer"/>.
/// </summary>
/// <remarks>
/// On a straight line from 2 * <see cref="Count"/> - last tokens in layer 0 to last = <see cref="Count"/> / <see cref="Beta"/>
/// (rounded down, at least 1) in the last layer, so that <see cref="Count"/> is their mean; the fall is rounded down. A model of
/// one layer keeps <see cref="Count"/>. The window is among the tokens, and is kept where it is longer.
/// </remarks>
[DeviceStage("depth_schedule.cuh", Type = "DepthSchedule")]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores", "token_index"], Writes = ["scores"],
    Summary = "average pool along the prefix")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["token_index"], Parameters = ["Count", "Beta"],
    Summary = "each head's highest-scored prefix tokens, fewer in higher layers, and the window, ascending")]
public sealed class DepthScheduleAttribute : RankedBudgetAttribute
{
    private const int MostCount = 1 << 22;

    /// <summary>Tokens of a sequence that each query head keeps, the window among them: the mean over the layers.</summary>
    [RuntimeParameter(4096, Min = 1, Max = MostCount)]
    public int Count { get; set; }

    /// <summary>By how much the last layer's tokens fall short of the mean: it keeps Count / Beta.</summary>
    [RuntimeParameter(20, Min = 1, Max = MostCount)]
    public int Beta { get; set; }

    /// <summary>Tokens that each query head keeps in a layer, where the sequence has so many.</summary>
    public int CountOf(LayerPosition layer)
    {
        int last = Math.Max(1, Count / Beta), first = 2 * Count - last, steps = layer.Count - 1;
        return steps > 0 ? first - (int)((long)(first - last) * layer.Index / steps) : Count;
    }

    /// <inheritdoc/>
    protected override bool MayDrop(int prefix, LayerPosition layer) => CountOf(layer) - Score.Window < prefix;

    /// <inheritdoc/>
    protected override void Kept(in RankedScores tokens, Span<int> kept) => kept.Fill(CountOf(tokens.Layer) - Score.Window);

    /// <inheritdoc/>
    protected override void CheckParameters()
    {
        Require(Count is >= 1 and <= MostCount, nameof(Count), Count, "in [1, 4194304]");
        Require(Beta is >= 1 and <= MostCount, nameof(Beta), Beta, "in [1, 4194304]");
    }

    /// <inheritdoc/>
    protected override void CheckLayer(LayerPosition layer)
    {
        if (!layer.IsKnown)
        {
            throw new ArgumentException(
                "DepthSchedule keeps fewer tokens in higher layers, and the call does not say which layer it is for; "
                + "set Layer of its arguments.",
                "Layer");
        }
    }
}
