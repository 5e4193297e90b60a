using System.Globalization;
using AttnCompose.Cpu;
using AttnCompose.Pipelines;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose;

/// <summary>
/// What token selectors share that score a token by the attention which the last queries of a sequence pay to it (Token Sparse
/// Attention, arXiv 2602.03216). How many tokens are kept is the derived selector's; which ones is each query head's own
/// choice. The last <see cref="Window"/> tokens are always kept.
/// </summary>
/// <remarks>
/// <para>Scores. With L keys and W = <see cref="Window"/>, the last min(W, Lq) queries take their softmax over all keys,
/// causal by position; a token's raw score is the mean of its probabilities over those queries. Only the prefix, positions
/// [0, L - W), is scored. The pipeline's rules apply.</para>
/// <para>Choice. Everything after the raw scores is a pure function of their bits, see
/// <see cref="Select(ReadOnlySpan{float}, int, int, CpuExecution, TokenSelection)"/>.</para>
/// <para>With fewer queries than keys (chunked prefill) there is one set over all keys; the query rows kept are those of the
/// set that have a query. Without any query everything is kept.</para>
/// </remarks>
[DeviceBuffer("row_partials", "float2", Shape = "[batch, query heads, key segments, window]")]
[DeviceBuffer("raw_scores", "float", Shape = "[batch, query heads, key length]")]
[DeviceBuffer("scores", "float", Shape = "[batch, query heads, key length]")]
[DevicePhase("row_partials", Scope = PhaseScope.KeyValueHeadKeySegment, Reads = ["query", "key"], Writes = ["row_partials"],
    AppliesRules = true, Summary = "row maximum and sum of the window queries over one segment of the keys")]
[DevicePhase("column_scores", Scope = PhaseScope.KeyValueHeadKeySegment,
    Reads = ["query", "key", "row_partials"], Writes = ["raw_scores"],
    AppliesRules = true, Summary = "mean probability of each prefix token over the window queries")]
public abstract class RecentQueriesSelectorAttribute : TokenSelectorAttribute
{
    /// <summary>Most segments that the keys are cut into, a thread block each, to be scored.</summary>
    public const int MaxSegments = 64;

    /// <summary>Most tokens before the window: the attention mass of more could pass 64 bits.</summary>
    public const int MaxPrefix = TokenBudget.MaxPrefix;

    /// <summary>Queries at the end of a sequence that score, and tokens at its end that are always kept.</summary>
    [ConstantParameter(128, Min = 1, Max = 1024)]
    public int Window { get; set; }

    /// <summary>Width of the average pool over the scores of neighbouring tokens; odd.</summary>
    [ConstantParameter(7, Min = 1, Max = 63)]
    public int Pool { get; set; }

    /// <summary>
    /// Rounds raw and pooled scores to bfloat16, as the reference implementation of the paper does. For parity checks: the
    /// coarse scores tie often, and ties go to the lower position.
    /// </summary>
    [ConstantParameter(0)]
    public bool RoundScoresToBFloat16 { get; set; }

    private string Name => GetType().Name.Replace("Attribute", "", StringComparison.Ordinal);

    /// <inheritdoc/>
    public override int AlwaysKept => Window;

    /// <inheritdoc/>
    public override int ScoreLength(in ProblemShape shape) => Math.Max(0, shape.KeyLength - Window);

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(workspace);
        CheckParameters();
        // An upper bound: sequences of a batch may be shorter than the key tensor, never longer.
        long rows = (long)shape.Batch * shape.QueryHeads;
        workspace.Add("row_partials", checked(rows * MaxSegments * Window), 2 * sizeof(float));
        workspace.Add("raw_scores", checked(rows * shape.KeyLength), sizeof(float));
        workspace.Add("scores", checked(rows * shape.KeyLength), sizeof(float));
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Scores handed out by <see cref="TokenSelection.Scores"/> are the ones that are ranked, after pooling; width Lk -
    /// Window of the key tensor, 0 beyond the prefix of a shorter sequence.
    /// </remarks>
    public override void Select<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection)
    {
        CheckParameters();
        if (KernelWidth.Bits == 512)
            Select<T, TScore, MicroKernel512>(in problem, cpu, scores, selection);
        else
            Select<T, TScore, MicroKernel256>(in problem, cpu, scores, selection);
    }

    /// <summary>
    /// Chooses the tokens of one sequence from raw scores alone. The result is a pure function of the score bits, the
    /// lengths and the parameters: it is the same on every CPU and GPU, for any number of workers.
    /// </summary>
    /// <remarks>
    /// Every operation on scores is a float32 operation rounded on its own (no fused multiply-add), in this order; canon(x)
    /// is x with subnormals and -0 replaced by +0, H the heads, P the pool width, n = Lk - Window the prefix.
    /// <list type="number">
    /// <item>s[h][t] = canon(raw[h][t]), rounded to bfloat16 with <see cref="RoundScoresToBFloat16"/>.</item>
    /// <item>pooled[h][t] = canon((s[h][t - P/2] + ... + s[h][t + P/2]) / P): summed left to right from +0, positions
    /// outside [0, n) add nothing, the divisor is always P; rounded to bfloat16 with <see cref="RoundScoresToBFloat16"/>.</item>
    /// <item>mean[t] = canon((pooled[0][t] + ... + pooled[H - 1][t]) / H), summed from +0.</item>
    /// <item>The derived selector says how many tokens of the prefix are kept: <see cref="KeptPrefix"/>.</item>
    /// <item>Each head keeps its highest pooled scores; NaN ranks lowest, ties go to the lower position. The window follows,
    /// ascending.</item>
    /// </list>
    /// </remarks>
    /// <param name="rawScores">[query heads, keyLength - Window], before pooling.</param>
    /// <param name="batch">Sequence of the selection that is filled.</param>
    /// <param name="firstQuery">Position of query 0 among the keys, Lk - Lq.</param>
    /// <param name="cpu">Workers and scratch memory.</param>
    /// <param name="selection">Sized by <see cref="TokenSelection.Reset"/>; its query heads are those of the scores.</param>
    /// <exception cref="ArgumentException">A parameter is out of range, or the scores do not divide into heads.</exception>
    /// <exception cref="NotSupportedException">The prefix is longer than <see cref="MaxPrefix"/>.</exception>
    public unsafe void Select(
        ReadOnlySpan<float> rawScores, int batch, int firstQuery, CpuExecution cpu, TokenSelection selection)
    {
        CheckParameters();
        ArgumentNullException.ThrowIfNull(cpu);
        ArgumentNullException.ThrowIfNull(selection);
        int heads = selection.QueryHeads;
        if (heads == 0 || rawScores.Length % heads != 0)
            throw new ArgumentException($"{rawScores.Length} scores do not divide into {heads} heads.", nameof(rawScores));
        int prefix = rawScores.Length / heads;
        CheckPrefix(prefix);
        var sequence = new SequenceShape(prefix + Window - firstQuery, prefix + Window);
        if (prefix == 0)
        {
            TokenRanking.KeepAll(selection, batch, in sequence);
            return;
        }
        fixed (float* raw = rawScores)
        {
            float* pooled = cpu.Scratch<float>(rawScores.Length);
            Choose(raw, pooled, cpu.Scratch<float>(prefix), batch, in sequence, cpu, selection);
        }
    }

    /// <summary>Whether any token of a prefix may be dropped; where not, nothing is scored.</summary>
    /// <param name="prefix">Tokens before the window.</param>
    protected abstract bool MayDrop(int prefix);

    /// <summary>How many tokens of the prefix every head keeps: a pure function of the bits of the means.</summary>
    /// <param name="mean">Mean over the heads of each prefix token's pooled score, free of subnormals and -0.</param>
    protected abstract int KeptPrefix(ReadOnlySpan<float> mean);

    /// <summary>Throws <see cref="ArgumentException"/> where a parameter is out of range.</summary>
    protected virtual void CheckParameters()
    {
        Require(Window is >= 1 and <= 1024, nameof(Window), Window, "in [1, 1024]");
        Require(Pool is >= 1 and <= 63 && Pool % 2 == 1, nameof(Pool), Pool, "odd and in [1, 63]");
    }

    private protected void Require(bool holds, string name, double value, string range)
    {
        if (!holds)
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"{Name}: {name} is {value}; it must be {range}."), name);
        }
    }

    private unsafe void Select<T, TScore, TKernel>(
        in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection)
        where T : unmanaged
        where TScore : struct, IScoreHook
        where TKernel : struct, IMicroKernel
    {
        ProblemShape shape = problem.Shape;
        int capacity = Math.Max(0, shape.KeyLength - Window);
        CheckPrefix(capacity);
        float* raw = cpu.Scratch<float>((long)capacity * shape.QueryHeads);
        float* pooled = cpu.Scratch<float>((long)capacity * shape.QueryHeads);
        float* mean = cpu.Scratch<float>(capacity);
        var scorer = new TokenScorer<T, TScore, TKernel>(in problem, cpu, scores, Window);
        for (int batch = 0; batch < shape.Batch; batch++)
        {
            SequenceShape sequence = problem.Sequence(batch);
            int prefix = Math.Max(0, sequence.KeyLength - Window);
            bool hasScores = prefix > 0 && sequence.QueryLength > 0;
            if (hasScores && (selection.WantsScores || MayDrop(prefix)))
            {
                scorer.Score(batch, raw);
                Choose(raw, pooled, mean, batch, in sequence, cpu, selection);
            }
            else
            {
                TokenRanking.KeepAll(selection, batch, in sequence);
            }
            if (selection.WantsScores)
                TokenRanking.HandOutScores(pooled, batch, hasScores ? prefix : 0, capacity, selection);
        }
    }

    private unsafe void Choose(
        float* raw, float* pooled, float* mean, int batch, in SequenceShape sequence, CpuExecution cpu, TokenSelection selection)
    {
        int heads = selection.QueryHeads;
        int prefix = sequence.KeyLength - Window;
        TokenPooling.Pool(raw, pooled, mean, heads, prefix, Pool, RoundScoresToBFloat16, cpu.Workers);
        int kept = KeptPrefix(new ReadOnlySpan<float>(mean, prefix));
        int* ofHeads = cpu.Scratch<int>(heads);
        new Span<int>(ofHeads, heads).Fill(kept);
        TokenRanking.KeepHighest(pooled, prefix, ofHeads, batch, in sequence, cpu.Workers, selection);
    }

    private void CheckPrefix(int prefix)
    {
        if (prefix > MaxPrefix)
            throw new NotSupportedException($"{Name} takes at most {MaxPrefix} tokens before the window; got {prefix}.");
    }
}
