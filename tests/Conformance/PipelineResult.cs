namespace AttnCompose.Conformance;

/// <summary>What a pipeline made of a <see cref="PipelineCase"/>, on whatever device, in plain arrays.</summary>
public sealed record PipelineResult
{
    /// <summary>[batch, query heads, Lq, dim], converted from the output type.</summary>
    public required float[] Output { get; init; }

    /// <summary>[batch, query heads, Lq].</summary>
    public required float[] LogSumExp { get; init; }

    /// <summary>Kept positions per batch * query heads + head; null where no tokens are selected.</summary>
    public int[][]? Positions { get; init; }

    /// <summary>Index of the first kept position with a query, per batch * query heads + head.</summary>
    public int[]? QueryBegins { get; init; }

    /// <summary>What a block selector chose; null where none chooses.</summary>
    public BlockMask? Blocks { get; init; }

    /// <summary>Scores of the prefix before pooling, per batch * query heads + head; null where they are not at hand.</summary>
    public float[][]? RawScores { get; init; }

    /// <summary>The same of a second pair, which prunes the first one's choice; null where there is none.</summary>
    public float[][]? LaterRawScores { get; init; }

    /// <summary>
    /// What probabilities are rounded to before they meet the values: the element type where a matrix unit multiplies them.
    /// </summary>
    public ElementType ProbabilityElement { get; init; } = ElementType.Float32;

    /// <summary>What was seen beside the results: writes outside the outputs, repeats that differ. Each is a failure.</summary>
    public IReadOnlyList<string> Faults { get; init; } = [];

    /// <summary>Pooled scores of the prefix per batch * query heads + head, as ranked; null where they are not at hand.</summary>
    public float[][]? Scores { get; init; }
}
