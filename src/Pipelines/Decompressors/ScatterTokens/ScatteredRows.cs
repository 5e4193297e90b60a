using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// Row destination that stores computed rows and zeroes the others. The attention loop hands over each output row at its
/// original place, so there is no index here.
/// </summary>
public readonly struct ScatteredRows : IRowDestination
{
    /// <inheritdoc/>
    public void Store<TOut>(ReadOnlySpan<float> result, Span<TOut> row) where TOut : unmanaged =>
        ElementConvert.FromFloat(result, row);

    /// <summary>Writes exact +0: all bits are zero in every element type.</summary>
    public void Skip<TOut>(Span<TOut> row) where TOut : unmanaged => row.Clear();
}
