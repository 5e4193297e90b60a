namespace AttnCompose;

/// <summary>The mask that a pipeline's attention kernel applies on its own, before any mask rule.</summary>
public enum AttentionMask
{
    /// <summary>Every query sees every valid key.</summary>
    Full,

    /// <summary>
    /// A query sees the keys up to its own position. Queries are aligned with the <em>end</em> of the keys: query i of Lq
    /// stands at position Lk - Lq + i.
    /// </summary>
    Causal,
}
