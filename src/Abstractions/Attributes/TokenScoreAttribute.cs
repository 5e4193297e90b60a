using System.Globalization;
using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>
/// Says how much each token matters to each query head. It stands before the <see cref="TokenBudgetAttribute"/> that says how
/// many are kept; any score goes with any budget.
/// </summary>
/// <remarks>
/// The last <see cref="Window"/> tokens of a sequence have no score: they are always kept. A score is at least 0, and more is
/// better. On the device the stage's phases write <c>raw_scores</c>, float [batch, query heads, Lk]: the tokens [0, L - Window)
/// of each sequence that has a query. Pooling and <see cref="Heads"/> are applied behind it.
/// </remarks>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true, Inherited = false)]
[DeviceBuffer("raw_scores", "float", Shape = "[batch, query heads, key length]")]
public abstract class TokenScoreAttribute : StageAttribute
{
    /// <summary>Tokens at the end of a sequence that are always kept.</summary>
    [ConstantParameter(128, Min = 1, Max = 1024)]
    public int Window { get; set; }

    /// <summary>Width of the average pool over the scores of neighbouring tokens; odd, 1 for none.</summary>
    [ConstantParameter(1, Min = 1, Max = 63)]
    public virtual int Pool { get; set; }

    /// <summary>Which query heads rank tokens together. Behind the pool.</summary>
    [ConstantParameter((int)HeadScope.QueryHead, Min = (int)HeadScope.QueryHead, Max = (int)HeadScope.Layer)]
    public HeadScope Heads { get; set; }

    /// <summary>Rounds raw and pooled scores to bfloat16, as the reference implementation of arXiv 2602.03216 does.</summary>
    [ConstantParameter(0)]
    public bool RoundScoresToBFloat16 { get; set; }

    /// <summary>Scores the tokens of every sequence that has a query on the CPU.</summary>
    /// <param name="problem">The call's tensors, pinned.</param>
    /// <param name="cpu">Workers and scratch memory.</param>
    /// <param name="rules">The pipeline's score and mask rules, for scores by attention.</param>
    /// <param name="scores">Receives the scores; not cleared.</param>
    public abstract void Score<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores)
        where T : unmanaged
        where TScore : struct, IScoreHook;

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(workspace);
        CheckParameters();
        workspace.Add("raw_scores", checked((long)shape.Batch * shape.QueryHeads * shape.KeyLength), sizeof(float));
    }

    /// <summary>Throws <see cref="ArgumentException"/> where a parameter is out of range.</summary>
    public virtual void CheckParameters()
    {
        Require(Window is >= 1 and <= 1024, nameof(Window), Window, "in [1, 1024]");
        Require(Pool is >= 1 and <= 63 && Pool % 2 == 1, nameof(Pool), Pool, "odd and in [1, 63]");
        Require(Enum.IsDefined(Heads), nameof(Heads), (int)Heads, "a member of HeadScope");
    }

    /// <summary>Throws <see cref="ArgumentException"/> where a parameter does not hold what it must.</summary>
    /// <param name="holds">Whether it does.</param>
    /// <param name="name">The parameter.</param>
    /// <param name="value">Its value.</param>
    /// <param name="range">What it must be.</param>
    protected void Require(bool holds, string name, double value, string range) =>
        TokenBudgetAttribute.Require(this, holds, name, value, range);
}

/// <summary>
/// A token selector that says how many tokens each query head keeps: the highest by the <see cref="TokenScoreAttribute"/>
/// declared before it, and the window. After another selector, the pair chooses among the tokens which that one kept.
/// </summary>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true, Inherited = false)]
[DeviceBuffer("scores", "float", Shape = "[batch, query heads, key length]")]
public abstract class TokenBudgetAttribute : TokenSelectorAttribute
{
    private TokenScoreAttribute? _score;

    /// <summary>The score that it ranks by.</summary>
    /// <exception cref="InvalidOperationException">It was not paired with one.</exception>
    public TokenScoreAttribute Score =>
        _score ?? throw new InvalidOperationException($"{GetType().Name} has no score: pair it with one first.");

    /// <summary>Whether it chooses among the tokens that a selector before it kept.</summary>
    public bool Prunes { get; private set; }

    /// <inheritdoc/>
    public override int AlwaysKept => Score.Window;

    /// <summary>Pairs the budget with its score. Generated code does it when it makes the stages.</summary>
    /// <param name="score">The score declared before it.</param>
    /// <param name="earlier">The selector before the pair, whose choice it prunes; null for the first.</param>
    /// <exception cref="ArgumentException">The score's window is longer than what the selector before always keeps.</exception>
    public TokenBudgetAttribute Of(TokenScoreAttribute score, TokenSelectorAttribute? earlier = null)
    {
        ArgumentNullException.ThrowIfNull(score);
        if (earlier is not null)
        {
            Require(
                score, score.Window <= earlier.AlwaysKept, nameof(score.Window), score.Window,
                $"at most the {earlier.AlwaysKept} last tokens that the selector before it always keeps");
        }
        (_score, Prunes) = (score, earlier is not null);
        return this;
    }

    /// <inheritdoc/>
    public override int ScoreLength(in ProblemShape shape) => Math.Max(0, shape.KeyLength - Score.Window);

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(workspace);
        workspace.Add("scores", checked((long)shape.Batch * shape.QueryHeads * shape.KeyLength), sizeof(float));
    }

    /// <summary>Throws <see cref="ArgumentException"/> where a parameter does not hold what it must.</summary>
    /// <param name="holds">Whether it does.</param>
    /// <param name="name">The parameter.</param>
    /// <param name="value">Its value.</param>
    /// <param name="range">What it must be.</param>
    protected void Require(bool holds, string name, double value, string range) => Require(this, holds, name, value, range);

    internal static void Require(StageAttribute stage, bool holds, string name, double value, string range)
    {
        if (!holds)
        {
            string who = stage.GetType().Name.Replace("Attribute", "", StringComparison.Ordinal);
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"{who}: {name} is {value}; it must be {range}."), name);
        }
    }
}

/// <summary>Where a <see cref="TokenScoreAttribute"/> puts its scores on the CPU: a row for each sequence and query head.</summary>
public readonly unsafe struct TokenScores
{
    private readonly float* _data;
    private readonly int* _prefixes; // [batch]
    private readonly int _heads;
    private readonly int _capacity;

    /// <summary>Over memory of the caller's.</summary>
    /// <param name="data">[batch, heads * capacity]; of each sequence, its first heads * prefix are used.</param>
    /// <param name="prefixes">[batch]: tokens of each sequence before the window.</param>
    /// <param name="heads">Query heads.</param>
    /// <param name="capacity">Largest prefix.</param>
    public TokenScores(float* data, int* prefixes, int heads, int capacity)
    {
        _data = data;
        _prefixes = prefixes;
        (_heads, _capacity) = (heads, capacity);
    }

    /// <summary>The scores of the tokens before the window; empty for a sequence that is not to be scored.</summary>
    public Span<float> Row(int batch, int head) => new(Sequence(batch) + (long)head * _prefixes[batch], _prefixes[batch]);

    /// <summary>Tokens of a sequence before the window; 0 where it is not to be scored.</summary>
    public int Prefix(int batch) => _prefixes[batch];

    /// <summary>[query heads, prefix] of a sequence.</summary>
    public float* Sequence(int batch) => _data + (long)batch * _heads * _capacity;
}
