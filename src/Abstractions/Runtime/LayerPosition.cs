namespace AttnCompose;

/// <summary>
/// Where a call stands in its model, for stages whose parameters depend on depth. A value that travels with the call; the
/// default says nothing.
/// </summary>
/// <param name="Index">The layer, from 0.</param>
/// <param name="Count">Layers of the model, at most <see cref="Most"/>; 0 where nothing is said.</param>
public readonly record struct LayerPosition(int Index, int Count)
{
    /// <summary>Most layers.</summary>
    public const int Most = ushort.MaxValue;

    /// <summary>Whether it says anything.</summary>
    public bool IsKnown => Count > 0;

    /// <summary>Throws where it says what cannot be.</summary>
    internal void Check(string pipeline)
    {
        bool isPlace = Count is >= 0 and <= Most && Index >= 0 && (Index < Count || this == default);
        if (!isPlace)
        {
            throw new ArgumentException(
                $"{pipeline}: Layer is {Index} of {Count}; the index must be in [0, Count), and Count in [1, {Most}].", "Layer");
        }
    }
}
