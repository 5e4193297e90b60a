using AttnCompose.Cpu;
using AttnCompose.Pipelines;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// Token score of H2O (arXiv 2306.14048): the attention that all queries pay to each token, summed. It costs the scores of dense
/// attention twice over, so it is a yardstick for cheaper scores rather than a way to save time in one layer.
/// </summary>
/// <remarks>
/// Each query takes its softmax over the keys up to its own position, whatever the pipeline's mask; a token's score is the sum
/// of its probabilities over all queries. The pipeline's rules apply. Early tokens are seen by more queries, as in the paper.
/// </remarks>
[DeviceStage("accumulated.cuh", Type = "Accumulated", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("row_stats", "float2", Shape = "[batch, query heads, query length]")]
[DevicePhase("row_stats", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "key"], Writes = ["row_stats"],
    AppliesRules = true, Summary = "maximum and sum of each query's softmax")]
[DevicePhase("column_sums", Scope = PhaseScope.QueryHeadKeyTile, Reads = ["query", "key", "row_stats"], Writes = ["raw_scores"],
    AppliesRules = true, Summary = "probabilities of each prefix token, summed over the queries")]
public sealed class AccumulatedAttribute : TokenScoreAttribute
{
    private const int QueriesAtOnce = 128;

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        base.DescribeWorkspace(in shape, workspace);
        workspace.Add("row_stats", checked((long)shape.Batch * shape.QueryHeads * shape.QueryLength), 2 * sizeof(float));
    }

    /// <inheritdoc/>
    public override void Score<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores)
    {
        if (KernelWidth.Bits == 512)
            Score<T, TScore, MicroKernel512>(in problem, cpu, rules, in scores);
        else
            Score<T, TScore, MicroKernel256>(in problem, cpu, rules, in scores);
    }

    // Some queries at a time, as the last ones of a sequence that ends with them.
    private unsafe void Score<T, TScore, TKernel>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores)
        where T : unmanaged
        where TScore : struct, IScoreHook
        where TKernel : struct, IMicroKernel
    {
        ProblemShape shape = problem.Shape;
        var scorer = new TokenScorer<T, TScore, TKernel>(in problem, cpu, rules, QueriesAtOnce);
        float* some = cpu.Scratch<float>((long)shape.QueryHeads * Math.Max(0, shape.KeyLength - Window));
        for (int batch = 0; batch < shape.Batch; batch++)
        {
            if (scores.Prefix(batch) == 0)
                continue;
            for (int head = 0; head < shape.QueryHeads; head++)
                scores.Row(batch, head).Clear();
            SequenceShape whole = problem.Sequence(batch);
            for (int end = whole.QueryLength; end > 0; end -= QueriesAtOnce)
            {
                var part = new SequenceShape(end, whole.FirstQuery + end);
                // Queries before the first key see none.
                int seen = Math.Min(scores.Prefix(batch), part.KeyLength);
                if (seen <= 0)
                    break;
                scorer.Score(batch, in part, seen, some);
                int rows = Math.Min(QueriesAtOnce, end);
                for (int head = 0; head < shape.QueryHeads; head++)
                {
                    Span<float> sums = scores.Row(batch, head);
                    for (int t = 0; t < seen; t++)
                        sums[t] += some[(long)head * seen + t] * rows;
                }
            }
        }
    }
}
