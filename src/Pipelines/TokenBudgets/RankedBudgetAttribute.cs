using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose;

/// <summary>
/// What token budgets share: they pool the scores of the stage before, put them together over heads, and each query head keeps
/// its highest. How many is the derived budget's.
/// </summary>
/// <remarks>
/// Everything after the raw scores is a pure function of their bits, see
/// <see cref="Choose(ReadOnlySpan{float}, in ProblemShape, int, in SequenceShape, CpuExecution, TokenSelection)"/>. A sequence
/// without a query keeps every token, or what the selector before it kept. With fewer queries than keys (chunked prefill) there
/// is one set over all keys; the query rows kept are those of the set that have a query.
/// </remarks>
public abstract class RankedBudgetAttribute : TokenBudgetAttribute
{
    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        CheckParameters();
        CheckLayer(shape.Layer);
        base.DescribeWorkspace(in shape, workspace);
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Scores handed out by <see cref="TokenSelection.Scores"/> are the ones that are ranked; width Lk - Window of the key
    /// tensor, 0 beyond the prefix of a shorter sequence.
    /// </remarks>
    public override unsafe void Select<T, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ArgumentNullException.ThrowIfNull(selection);
        ProblemShape shape = problem.Shape;
        Score.CheckParameters();
        CheckParameters();
        CheckLayer(shape.Layer);
        int capacity = ScoreLength(in shape);
        CheckPrefix(capacity);
        int* prefixes = cpu.Scratch<int>(shape.Batch);
        bool scoresAny = false;
        for (int batch = 0; batch < shape.Batch; batch++)
        {
            SequenceShape sequence = problem.Sequence(batch);
            int prefix = sequence.QueryLength == 0 ? 0 : Math.Max(0, sequence.KeyLength - Score.Window);
            bool isScored = prefix > 0 && (selection.WantsScores || MayDrop(prefix, shape.Layer));
            prefixes[batch] = isScored ? prefix : 0;
            scoresAny |= isScored;
        }
        long row = (long)capacity * shape.QueryHeads;
        var raw = new TokenScores(cpu.Scratch<float>(shape.Batch * row), prefixes, shape.QueryHeads, capacity);
        float* ranked = cpu.Scratch<float>(row);
        float* mean = cpu.Scratch<float>(capacity);
        int* kept = cpu.Scratch<int>(shape.QueryHeads);
        if (scoresAny)
            Score.Score(in problem, cpu, scores, in raw);
        for (int batch = 0; batch < shape.Batch; batch++)
        {
            SequenceShape sequence = problem.Sequence(batch);
            if (prefixes[batch] > 0)
                Choose(raw.Sequence(batch), ranked, mean, kept, in shape, batch, in sequence, cpu, selection);
            else if (!Prunes)
                TokenRanking.KeepAll(selection, batch, in sequence);
            if (selection.WantsScores)
                TokenRanking.HandOutScores(ranked, batch, prefixes[batch], capacity, selection);
        }
    }

    /// <summary>
    /// Chooses the tokens of one sequence from raw scores alone. The result is a pure function of the score bits, the
    /// lengths and the parameters: it is the same on every CPU and GPU, for any number of workers.
    /// </summary>
    /// <remarks>
    /// Every operation on scores is a float32 operation rounded on its own (no fused multiply-add), in this order; canon(x)
    /// is x with subnormals and -0 replaced by +0, P the pool width, n = Lk - Window the prefix.
    /// <list type="number">
    /// <item>s[h][t] = canon(raw[h][t]), rounded to bfloat16 if asked; pooled[h][t] = canon((s[h][t - P/2] + ... +
    /// s[h][t + P/2]) / P), summed from +0, the divisor always P; rounded to bfloat16 if asked.</item>
    /// <item>Heads that rank together have one score a token, canon(f) over theirs in order: the sum from +0, the mean (that
    /// sum divided by their number), or the largest, from +0, NaN passed over.</item>
    /// <item>In a pair that prunes, tokens that the head did not keep before score -inf, and a NaN among the others the lowest
    /// finite number.</item>
    /// <item>Each head keeps its highest scores, as many as the budget says and at most those that it kept before; NaN ranks
    /// lowest, ties go to the lower position. The window follows, ascending.</item>
    /// </list>
    /// </remarks>
    /// <param name="rawScores">[query heads, n], before pooling.</param>
    /// <param name="shape">Sizes of the call; the lengths are not looked at.</param>
    /// <param name="batch">Sequence of the selection that is filled, and read where the pair prunes.</param>
    /// <param name="sequence">Lengths of the sequence; it has a query.</param>
    /// <param name="cpu">Workers and scratch memory.</param>
    /// <param name="selection">Sized by <see cref="TokenSelection.Reset"/>.</param>
    /// <exception cref="ArgumentException">A parameter is out of range, or the scores are not heads * n.</exception>
    /// <exception cref="NotSupportedException">The prefix is too long.</exception>
    public unsafe void Choose(
        ReadOnlySpan<float> rawScores, in ProblemShape shape, int batch, in SequenceShape sequence, CpuExecution cpu,
        TokenSelection selection)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ArgumentNullException.ThrowIfNull(selection);
        Score.CheckParameters();
        CheckParameters();
        CheckLayer(shape.Layer);
        int prefix = Math.Max(0, sequence.KeyLength - Score.Window);
        CheckPrefix(prefix);
        if (rawScores.Length != prefix * shape.QueryHeads)
        {
            throw new ArgumentException(
                $"Got {rawScores.Length} scores for {shape.QueryHeads} heads of {prefix} tokens.", nameof(rawScores));
        }
        if (prefix == 0)
        {
            if (!Prunes)
                TokenRanking.KeepAll(selection, batch, in sequence);
            return;
        }
        float* ranked = cpu.Scratch<float>(rawScores.Length);
        int* kept = cpu.Scratch<int>(shape.QueryHeads);
        fixed (float* raw = rawScores)
            Choose(raw, ranked, cpu.Scratch<float>(prefix), kept, in shape, batch, in sequence, cpu, selection);
    }

    /// <summary>Whether any token of a prefix may be dropped; where not, nothing is scored.</summary>
    /// <param name="prefix">Tokens before the window.</param>
    /// <param name="layer">Where the call stands in its model.</param>
    protected abstract bool MayDrop(int prefix, LayerPosition layer);

    /// <summary>How many tokens of the prefix each head keeps: a pure function of the bits of the scores.</summary>
    /// <param name="tokens">What the heads rank by.</param>
    /// <param name="kept">[query heads]; what is outside [0, prefix] counts as the nearest number inside.</param>
    protected abstract void Kept(in RankedScores tokens, Span<int> kept);

    /// <summary>Throws <see cref="ArgumentException"/> where a parameter is out of range.</summary>
    protected abstract void CheckParameters();

    /// <summary>Throws <see cref="ArgumentException"/> where the budget depends on the layer and the call does not name it.</summary>
    protected virtual void CheckLayer(LayerPosition layer)
    {
    }

    private unsafe void Choose(
        float* raw, float* ranked, float* mean, int* kept, in ProblemShape shape, int batch, in SequenceShape sequence,
        CpuExecution cpu, TokenSelection selection)
    {
        int heads = shape.QueryHeads, prefix = sequence.KeyLength - Score.Window;
        TokenPooling.Pool(raw, ranked, mean, heads, prefix, Score.Pool, Score.RoundScoresToBFloat16, cpu.Workers);
        if (Score.Heads != HeadScope.QueryHead)
            TokenPooling.Join(ranked, mean, heads, shape.GroupSize, prefix, Score.Heads, cpu.Workers);
        if (Prunes)
            TokenPooling.LeaveCandidates(ranked, mean, heads, prefix, batch, selection, cpu.Workers);
        var tokens = new RankedScores(ranked, mean, heads, prefix, sequence.KeyLength, shape.Layer, cpu.Workers);
        Kept(in tokens, new Span<int>(kept, heads));
        for (int head = 0; head < heads; head++)
        {
            int most = Prunes ? selection.KeyCount(batch, head) - (sequence.KeyLength - prefix) : prefix;
            kept[head] = Math.Clamp(kept[head], 0, most);
        }
        TokenRanking.KeepHighest(ranked, prefix, kept, batch, in sequence, cpu.Workers, selection);
    }

    private void CheckPrefix(int prefix)
    {
        if (prefix > TokenBudget.MaxPrefix)
        {
            throw new NotSupportedException(
                $"{GetType().Name} takes at most {TokenBudget.MaxPrefix} tokens before the window; got {prefix}.");
        }
    }
}

/// <summary>What the heads of one sequence rank its tokens by, for <see cref="RankedBudgetAttribute"/>.</summary>
public readonly unsafe ref struct RankedScores
{
    private readonly float* _scores;
    private readonly float* _mean;

    internal RankedScores(
        float* scores, float* mean, int heads, int prefix, int keyLength, LayerPosition layer, CpuWorkers workers)
    {
        _scores = scores;
        _mean = mean;
        (Heads, Prefix, KeyLength, Layer, Workers) = (heads, prefix, keyLength, layer, workers);
    }

    /// <summary>Query heads.</summary>
    public int Heads { get; }

    /// <summary>Tokens that have a score.</summary>
    public int Prefix { get; }

    /// <summary>Tokens of the sequence, the window among them.</summary>
    public int KeyLength { get; }

    /// <summary>Where the call stands in its model.</summary>
    public LayerPosition Layer { get; }

    /// <summary>Workers.</summary>
    public CpuWorkers Workers { get; }

    /// <summary>The scores of a head, free of subnormals and -0.</summary>
    public ReadOnlySpan<float> Row(int head) => new(_scores + (long)head * Prefix, Prefix);

    /// <summary>Mean over the heads, summed in order; a token that a head had not kept before counts 0 there.</summary>
    public ReadOnlySpan<float> Mean => new(_mean, Prefix);

    internal float* Scores => _scores;
}
