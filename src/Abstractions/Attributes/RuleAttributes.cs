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
