namespace AttnCompose;

/// <summary>Which query heads rank tokens together: by one score, put together from theirs, token by token.</summary>
public enum HeadScope
{
    /// <summary>Each query head ranks by its own scores.</summary>
    QueryHead,

    /// <summary>The query heads of a key/value head rank by the mean of their scores.</summary>
    KeyValueHeadMean,

    /// <summary>The query heads of a key/value head rank by the largest of their scores.</summary>
    KeyValueHeadMax,

    /// <summary>The query heads of a key/value head rank by the sum of their scores.</summary>
    KeyValueHeadSum,

    /// <summary>All query heads of the layer rank by the mean of their scores.</summary>
    Layer,
}
