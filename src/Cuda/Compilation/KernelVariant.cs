using System.Globalization;

namespace AttnCompose.Cuda;

/// <summary>What one pipeline's kernel text is compiled for: each variant is compiled and kept apart.</summary>
/// <param name="HeadDim">Head dim: a multiple of 8 in [8, 256].</param>
/// <param name="Element">Element of query, key and value.</param>
/// <param name="Output">Element of the output: that of the inputs, or float32.</param>
public readonly record struct KernelVariant(int HeadDim, ElementType Element, ElementType Output)
{
    /// <summary>The variant whose output has the element type of the inputs.</summary>
    public KernelVariant(int headDim, ElementType element)
        : this(headDim, element, element)
    {
    }

    /// <summary>
    /// Shape of the attention loop's tiles; null for the default, and in a warm-up for what the device's tuning has for any call.
    /// </summary>
    public AttentionTile? Tile { get; init; }

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"head dim {HeadDim}, {Element}{(Output == Element ? "" : $" to {Output}")}{(Tile is { } tile ? $", tile {tile}" : "")}");

    /// <summary>Says what a pipeline cannot be compiled for.</summary>
    /// <exception cref="NotSupportedException">The pipeline does not take the head dim or a type.</exception>
    internal void Check(CudaProgram program)
    {
        if (!program.Elements.Contains(Element) || (program.Element != ElementType.Any && program.Element != Element))
        {
            string taken = program.Element == ElementType.Any ? string.Join(" or ", program.Elements) : program.Element.ToString();
            throw new NotSupportedException($"{program.Name} takes {taken} on a CUDA device; it got {Element}.");
        }
        if (Output != Element && Output != ElementType.Float32)
            throw new NotSupportedException($"The output of {Element} inputs is {Element} or Float32; it got {Output}.");
        if (program.HeadDim != 0 && program.HeadDim != HeadDim)
            throw new NotSupportedException($"{program.Name} is declared with HeadDim = {program.HeadDim}; it got {HeadDim}.");
        if (HeadDim is < 8 or > 256 || HeadDim % 8 != 0)
            throw new NotSupportedException($"Head dim {HeadDim} is not a multiple of 8 in [8, 256].");
    }
}
