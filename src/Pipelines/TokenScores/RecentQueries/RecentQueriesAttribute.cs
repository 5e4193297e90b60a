using AttnCompose.Cpu;
using AttnCompose.Pipelines;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Token score of Token Sparse Attention (arXiv 2602.03216): the attention that the last queries of a sequence pay to each
/// token. Its pair with the budget of that paper is <see cref="TokenCoverageAttribute"/>.
/// </summary>
/// <remarks>
/// With L keys and W = <see cref="TokenScoreAttribute.Window"/>, the last min(W, Lq) queries take their softmax over all keys,
/// causal by position; a token's score is the mean of its probabilities over those queries. The pipeline's rules apply.
/// </remarks>
[DeviceStage("recent_queries.cuh", Type = "RecentQueries", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("row_partials", "float2", Shape = "[batch, query heads, key segments, window]")]
[DevicePhase("row_partials", Scope = PhaseScope.KeyValueHeadKeySegment, Reads = ["query", "key"], Writes = ["row_partials"],
    AppliesRules = true, Summary = "row maximum and sum of the window queries over one segment of the keys")]
[DevicePhase("column_scores", Scope = PhaseScope.KeyValueHeadKeySegment,
    Reads = ["query", "key", "row_partials"], Writes = ["raw_scores"],
    AppliesRules = true, Summary = "mean probability of each prefix token over the window queries")]
public sealed class RecentQueriesAttribute : TokenScoreAttribute
{
    /// <inheritdoc/>
    [ConstantParameter(7, Min = 1, Max = 63)]
    public override int Pool { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        base.DescribeWorkspace(in shape, workspace);
        long rows = checked((long)shape.Batch * shape.QueryHeads * RecentQueriesSelectorAttribute.MaxSegments * Window);
        workspace.Add("row_partials", rows, 2 * sizeof(float));
    }

    /// <inheritdoc/>
    public override void Score<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores)
    {
        if (KernelWidth.Bits == 512)
            Score<T, TScore, MicroKernel512>(in problem, cpu, rules, in scores);
        else
            Score<T, TScore, MicroKernel256>(in problem, cpu, rules, in scores);
    }

    private unsafe void Score<T, TScore, TKernel>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores)
        where T : unmanaged
        where TScore : struct, IScoreHook
        where TKernel : struct, IMicroKernel
    {
        var scorer = new TokenScorer<T, TScore, TKernel>(in problem, cpu, rules, Window);
        for (int batch = 0; batch < problem.Shape.Batch; batch++)
        {
            if (scores.Prefix(batch) > 0)
                scorer.Score(batch, scores.Sequence(batch));
        }
    }
}
