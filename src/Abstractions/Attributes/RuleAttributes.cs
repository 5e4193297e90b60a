namespace AttnCompose;

/// <summary>
/// Marks a static method of a pipeline class as a score rule: <c>float Rule(float score, in ScorePosition at, ...)</c>. It gets
/// each score, scaled and in natural-log units, and returns what the softmax sees; negative infinity masks the key. It is
/// translated to CUDA where the attention kernel is emitted, and to vectors on the CPU.
/// </summary>
/// <remarks>
/// Further parameters of type float, int or bool become members of the generated <c>Options</c>; their default value is the
/// option's, or <see cref="RuntimeParameterAttribute"/> gives default and range. Parameters of type
/// <see cref="ReadOnlySpan{T}"/> of float, int or bool become arguments of the generated <c>Run</c>. What a body may hold is
/// said in docs/rules.md. Several rules apply in declared order, mask rules before score rules.
/// </remarks>
/// <example>
/// <code>
/// [ScoreModifier]
/// static float Alibi(float score, in ScorePosition at, float slope = 0.0625f) => score - slope * (at.Query - at.Key);
/// </code>
/// </example>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ScoreModifierAttribute : Attribute;

/// <summary>
/// Marks a static method of a pipeline class as a mask rule: <c>bool Rule(in ScorePosition at, ...)</c> says whether a query
/// sees a key, beyond the pipeline's own mask. Parameters as with <see cref="ScoreModifierAttribute"/>.
/// </summary>
/// <example>
/// <code>
/// [MaskModifier]
/// static bool SameDocument(in ScorePosition at, ReadOnlySpan&lt;int> document) => document[at.Query] == document[at.Key];
/// </code>
/// </example>
[AttributeUsage(AttributeTargets.Method)]
public sealed class MaskModifierAttribute : Attribute;

/// <summary>
/// Marks a static method of a pipeline class as its sink: <c>float Rule(in ScorePosition at, ...)</c> gives a logit, in natural-log
/// units, that the softmax of a row has beside those of its keys, and that has no value (as in gpt-oss, arXiv 2508.10925). The
/// weights of the keys then add up to less than 1. It is asked once a row, and <c>at.Key</c> cannot be read. Parameters as with
/// <see cref="ScoreModifierAttribute"/>; a pipeline has one sink at most.
/// </summary>
/// <remarks>
/// With scores s the output is sum exp(s_j) v_j / (exp(sink) + sum exp(s_j)), and the log-sum-exp is the logarithm of that
/// denominator, the sink included: a row without keys gets 0 and the sink. Mask and score rules do not touch it, selectors
/// rank without it, and a row that a token selection leaves out gets 0 and -inf as without a sink. A logit of -inf is no sink.
/// </remarks>
/// <example>
/// <code>
/// [SinkLogit]
/// static float Sink(in ScorePosition at, ReadOnlySpan&lt;float> sinks) => sinks[at.QueryHead];
/// </code>
/// </example>
[AttributeUsage(AttributeTargets.Method)]
public sealed class SinkLogitAttribute : Attribute;
