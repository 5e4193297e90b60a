using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// Token selector of Token Sparse Attention (arXiv 2602.03216): the attention that the last queries of a sequence pay to
/// each token says how much the token matters; the least important tokens, which together hold at most
/// <see cref="Coverage"/> of the layer's attention mass, are dropped. All heads of a layer keep equally many tokens; which
/// ones is each query head's own choice. The last <see cref="RecentQueriesSelectorAttribute.Window"/> tokens are always kept.
/// </summary>
/// <remarks>
/// <para>Everything is kept where <see cref="Coverage"/> drops nothing, where L &lt;= <see cref="MinTokens"/> + W, and where
/// the scores are all zero or not finite.</para>
/// <para>How many tokens of the prefix are kept, from the mean scores of
/// <see cref="RecentQueriesSelectorAttribute.Select(ReadOnlySpan{float}, int, int, Cpu.CpuExecution, TokenSelection)"/>, in
/// integers throughout:
/// <list type="number">
/// <item>If a mean is infinite or NaN, everything is kept.</item>
/// <item>Mass in 64-bit integers: with M the largest mean and e = floor(log2 M), mass[t] = trunc(mean[t] * 2^(39 - e)),
/// 0 for a mean &lt;= 0. If every mass is 0, everything is kept.</item>
/// <item>C = round(Coverage * 2^63), ties to even; target = ceil(C * total / 2^63) in 128 bits. In ascending order of
/// mass, count = number of tokens whose inclusive cumulative mass is below target; drop = count, and one more unless it
/// is 0; kept prefix = max(MinTokens, n - drop).</item>
/// </list></para>
/// </remarks>
[DeviceStage("token_coverage.cuh", Type = "TokenCoverage", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("mean_scores", "float", Shape = "[batch, key length]")]
[DeviceBuffer("budget", "int", Shape = "[batch]")]
[DevicePhase("pool", Scope = PhaseScope.KeyTile, Reads = ["raw_scores"], Writes = ["scores", "mean_scores"],
    Summary = "average pool along the prefix, then the mean over heads")]
[DevicePhase("budget", Scope = PhaseScope.Sequence, Reads = ["mean_scores"], Writes = ["budget"],
    Parameters = ["Coverage", "MinTokens"],
    Summary = "how many tokens the layer keeps: mass-weighted radix descent in integers")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores", "budget"], Writes = ["token_index"],
    Summary = "each head's highest-scored prefix tokens and the window, ascending")]
public sealed class TokenCoverageAttribute : RecentQueriesSelectorAttribute
{
    /// <summary>Share of the layer's attention mass over the prefix that is dropped, in [0, 1]; 0 keeps everything.</summary>
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
    protected override bool MayDrop(int prefix) => prefix > MinTokens && Coverage > 0;

    /// <inheritdoc/>
    protected override int KeptPrefix(ReadOnlySpan<float> mean) => TokenBudget.KeptPrefix(mean, Coverage, MinTokens);

    /// <inheritdoc/>
    protected override void CheckParameters()
    {
        Require(Coverage is >= 0 and <= 1, nameof(Coverage), Coverage, "in [0, 1]");
        base.CheckParameters();
        Require(MinTokens >= 0, nameof(MinTokens), MinTokens, "at least 0");
    }
}
