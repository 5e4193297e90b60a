namespace AttnCompose;

/// <summary>What a rule decides.</summary>
public enum RuleForm
{
    /// <summary>Whether a query sees a key.</summary>
    Mask,

    /// <summary>What becomes of a score.</summary>
    Score,

    /// <summary>A logit that the softmax of a row has beside those of its keys.</summary>
    Sink,

    /// <summary>How much a token matters: a stage of the pipeline, in front of a budget.</summary>
    TokenScore,
}
