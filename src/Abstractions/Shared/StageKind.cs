namespace AttnCompose;

/// <summary>
/// What a stage is for. The order of the members is the order in which stages run; token scores and selectors run as declared.
/// </summary>
public enum StageKind
{
    /// <summary>Says how much each token matters, for the token selector behind it.</summary>
    TokenScore,

    /// <summary>Decides, per head, which tokens take part.</summary>
    TokenSelector,

    /// <summary>Makes the chosen tokens look like one shorter sequence.</summary>
    Compress,

    /// <summary>Decides which key blocks each query block visits.</summary>
    BlockSelector,

    /// <summary>Owns the attention main loop and offers the fusion points that other stages hook into.</summary>
    AttentionKernel,

    /// <summary>Puts result rows back at their places in the original sequence.</summary>
    Decompress,
}
