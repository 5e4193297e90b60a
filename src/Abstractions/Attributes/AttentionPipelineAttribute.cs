namespace AttnCompose;

/// <summary>
/// Marks a partial class as an attention pipeline. Its stages are the stage attributes beside this one; the source
/// generator adds <c>Create</c>, <c>Run</c>, <c>Options</c> and <c>Plan</c>.
/// </summary>
/// <example>
/// <code>
/// [AttentionPipeline(Mask = AttentionMask.Causal)]
/// [TokenCoverage(Coverage = 0.005)]
/// [GatherTokens]
/// [FlashAttention]
/// [ScatterTokens]
/// public sealed partial class TokenSparsePrefill;
/// </code>
/// </example>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public sealed class AttentionPipelineAttribute : Attribute
{
    /// <summary>The mask; <see cref="AttentionMask.Full"/> unless said.</summary>
    public AttentionMask Mask { get; set; }

    /// <summary>Head dim, a multiple of 8 in [8, 256]. Left out (0), it is bound at the first call of <c>Run</c>.</summary>
    public int HeadDim { get; set; }

    /// <summary>Element type of query, key and value. Left out, it is bound at the first call of <c>Run</c>.</summary>
    public ElementType Element { get; set; }
}
