using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Token budget of each head's own: the fewest of its highest-scored tokens that together hold a share <see cref="P"/> of its
/// scores, as in Twilight (arXiv 2502.02770). Heads whose attention is sharp keep few tokens, flat ones many.
/// </summary>
/// <remarks>
/// A head keeps its whole prefix where no score of it is above 0, or one is +inf or NaN. In integers throughout: with M the
/// head's largest score and e = floor(log2 M), mass[t] = trunc(score[t] * 2^(39 - e)), 0 for a score &lt;= 0; S =
/// round(P * 2^63), ties to even; share = ceil(S * total / 2^63) in 128 bits. In ascending order of mass, tokens are dropped
/// while their inclusive cumulative mass is at most total - share; all of them where the share is 0.
/// </remarks>
[DeviceStage("top_p.cuh", Type = "TopP")]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores", "token_index"], Writes = ["scores"],
    Summary = "average pool along the prefix")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["token_index"],
    Parameters = ["P", "MinTokens"], Summary = "each head's highest-scored prefix tokens, up to a share of its scores, and the window, ascending")]
public sealed class TopPAttribute : RankedBudgetAttribute
{
    /// <summary>Share of a head's scores over the prefix that the kept tokens hold, in [0, 1].</summary>
    [RuntimeParameter(0.95, Min = 0, Max = 1)]
    public double P { get; set; }

    /// <summary>Prefix tokens that are kept whatever the scores say; the window comes on top.</summary>
    [RuntimeParameter(0, Min = 0)]
    public int MinTokens { get; set; }

    /// <inheritdoc/>
    protected override bool MayDrop(int prefix, LayerPosition layer) => prefix > MinTokens;

    /// <inheritdoc/>
    protected override unsafe void Kept(in RankedScores tokens, Span<int> kept)
    {
        fixed (int* counts = kept)
        {
            var work = new HeadWork
            {
                Scores = tokens.Scores, Prefix = tokens.Prefix, Kept = counts, P = P, MinTokens = MinTokens,
            };
            tokens.Workers.Run(ref work, tokens.Heads);
        }
    }

    /// <inheritdoc/>
    protected override void CheckParameters()
    {
        Require(P is >= 0 and <= 1, nameof(P), P, "in [0, 1]");
        Require(MinTokens >= 0, nameof(MinTokens), MinTokens, "at least 0");
    }

    private unsafe struct HeadWork : ICpuWork
    {
        public required float* Scores;
        public required int Prefix;
        public required int* Kept;
        public required double P;
        public required int MinTokens;

        public readonly void Execute(int item, int worker) => Kept[item] =
            TokenBudget.FewestHolding(new ReadOnlySpan<float>(Scores + (long)item * Prefix, Prefix), P, MinTokens);
    }
}
