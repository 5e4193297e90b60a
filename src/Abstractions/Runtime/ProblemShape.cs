namespace AttnCompose;

/// <summary>
/// Sizes of one attention call: query [Batch, QueryHeads, QueryLength, HeadDim], key and value
/// [Batch, KeyValueHeads, KeyLength, HeadDim].
/// </summary>
public readonly record struct ProblemShape(
    int Batch, int QueryHeads, int KeyValueHeads, int QueryLength, int KeyLength, int HeadDim)
{
    /// <summary>Where the call stands in its model, if the caller said.</summary>
    public LayerPosition Layer { get; init; }

    /// <summary>Query heads that share one key/value head.</summary>
    public int GroupSize => KeyValueHeads == 0 ? 0 : QueryHeads / KeyValueHeads;

    /// <summary>Whether there is no output row at all.</summary>
    public bool IsEmpty => Batch == 0 || QueryHeads == 0 || QueryLength == 0;

    /// <inheritdoc/>
    public override string ToString() =>
        $"query [{Batch}, {QueryHeads}, {QueryLength}, {HeadDim}], key/value [{Batch}, {KeyValueHeads}, {KeyLength}, {HeadDim}]";
}

/// <summary>Valid lengths of one sequence of a batch, and where its queries stand among its keys.</summary>
/// <param name="QueryLength">Valid queries.</param>
/// <param name="KeyLength">Valid keys.</param>
public readonly record struct SequenceShape(int QueryLength, int KeyLength)
{
    /// <summary>Position of query 0 among the keys: query i stands at position FirstQuery + i.</summary>
    public int FirstQuery => KeyLength - QueryLength;
}
