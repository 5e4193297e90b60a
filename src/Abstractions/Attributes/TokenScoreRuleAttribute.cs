using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>
/// Marks a static method of a pipeline class as its token score:
/// <c>float Rule(in TokenPosition at, ReadOnlySpan&lt;float> key, ReadOnlySpan&lt;float> value, ...)</c> says how much a token matters, from
/// its key vector, its value vector and where it stands. It is the score of the first <see cref="TokenBudgetAttribute"/> that has
/// none, and is translated to CUDA and, for the CPU, to vectors of tokens.
/// </summary>
/// <remarks>
/// <para>
/// <c>key</c> and <c>value</c> are head dim floats each, either may be left out, and are known by their names. Other parameters are
/// as with <see cref="ScoreModifierAttribute"/>: float, int and bool become members of the generated <c>Options</c>, further spans
/// arguments of <c>Run</c>. What a body may hold is said in docs/rules.md. A rule that reads <see cref="TokenPosition.QueryHead"/> is
/// asked for each query head, any other once for all heads of a group. Rules that change attention scores do not touch it.
/// </para>
/// <para>
/// A score is at least 0 and more is better; a negative one counts as 0. Window, pool and head scope are those of every
/// <see cref="TokenScoreAttribute"/>, said here. A pipeline has one such rule at most.
/// </para>
/// </remarks>
/// <example>
/// <code>
/// [TokenScoreRule(Window = 64)]
/// static float ValueNorm(in TokenPosition at, ReadOnlySpan&lt;float> value)
/// {
///     float sum = 0;
///     for (int d = 0; d &lt; value.Length; d++)
///         sum += value[d] * value[d];
///     return sum;
/// }
/// </code>
/// </example>
[AttributeUsage(AttributeTargets.Method, Inherited = false)]
public sealed class TokenScoreRuleAttribute : TokenScoreAttribute
{
    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">Always: the stage that is generated for the rule scores.</exception>
    public override void Score<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores) =>
        throw new InvalidOperationException("A token score rule is computed by the stage that its pipeline has for it.");
}
