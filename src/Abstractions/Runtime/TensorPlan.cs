using System.Globalization;

namespace AttnCompose;

/// <summary>A tensor that a stage takes from the caller of each call (<see cref="TensorArgumentAttribute"/>).</summary>
/// <param name="Name">Its name, such as <c>query_gate</c>.</param>
/// <param name="ElementType">C# keyword of an element: float or int.</param>
/// <param name="Shape">The length of each dimension.</param>
/// <param name="Stage">The stage that takes it.</param>
/// <param name="Summary">What it is, one line.</param>
public sealed record TensorPlan(string Name, string ElementType, IReadOnlyList<TensorExtent> Shape, string Stage, string Summary)
{
    /// <summary>Its shape in a problem.</summary>
    public nint[] LengthsFor(in ProblemShape shape)
    {
        var lengths = new nint[Shape.Count];
        for (int i = 0; i < lengths.Length; i++)
            lengths[i] = Shape[i].CountFor(in shape);
        return lengths;
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        string what = Summary.Length == 0 ? "" : $": {Summary}";
        return $"{Name}: {ElementType} [{string.Join(", ", Shape)}], of {Stage}{what}";
    }

    /// <summary>Refuses a tensor that is missing or does not fit.</summary>
    /// <param name="pipeline">Name of the pipeline, for messages.</param>
    /// <param name="shape">The problem.</param>
    /// <param name="elementType">Type of an element of the tensor; null where there is no tensor.</param>
    /// <param name="lengths">Its shape.</param>
    /// <param name="strides">Its strides, elements.</param>
    /// <exception cref="ArgumentException">The message says what it is and what is needed; its parameter is the name.</exception>
    internal void Check(
        string pipeline, in ProblemShape shape, Type? elementType, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
    {
        bool fits = elementType == (ElementType == "int" ? typeof(int) : typeof(float)) && lengths.Length == Shape.Count;
        bool isDense = true;
        nint stride = 1;
        for (int i = lengths.Length - 1; fits && i >= 0; i--)
        {
            fits = lengths[i] == Shape[i].CountFor(in shape);
            isDense &= lengths[i] == 1 || strides[i] == stride;
            stride *= lengths[i];
        }
        if (fits && (isDense || stride == 0))
            return;
        if (fits)
        {
            throw new ArgumentException(
                $"{Name} has shape {Text(lengths)} and strides {Text(strides)}; {pipeline} reads it without gaps, in the order of its shape.",
                Name);
        }
        string needed = $"{ElementType} {Text(LengthsFor(in shape))} ({string.Join(", ", Shape)})";
        throw new ArgumentException(
            elementType is null
                ? $"{Stage} of {pipeline} takes {Name} from the caller, {needed}, and the call has none; set Tensors."
                : $"{Name} is {Keyword(elementType)} {Text(lengths)}; {Stage} of {pipeline} takes {needed}.",
            Name);
    }

    /// <summary>Refuses a tensor that a pipeline does not take.</summary>
    internal static void CheckName(string pipeline, IReadOnlyList<TensorPlan> taken, string given)
    {
        for (int i = 0; i < taken.Count; i++)
        {
            if (taken[i].Name == given)
                return;
        }
        string takes = taken.Count == 0 ? "none" : string.Join(", ", taken.Select(tensor => tensor.Name));
        throw new ArgumentException($"{pipeline} takes no tensor '{given}' from its caller. It takes: {takes}.", given);
    }

    private static string Keyword(Type type) => type == typeof(float) ? "float" : type == typeof(int) ? "int" : type.Name;

    private static string Text(ReadOnlySpan<nint> values) => $"[{string.Join(", ", values.ToArray())}]";
}

/// <summary>The length of a dimension of a tensor that a stage takes.</summary>
/// <param name="Name">A member of <see cref="ProblemShape"/>, a constant of the stage or a number, as it was declared.</param>
/// <param name="Count">The value of the constant or number; 0 for a size of the problem.</param>
public sealed record TensorExtent(string Name, int Count)
{
    /// <summary>The length in a problem.</summary>
    public int CountFor(in ProblemShape shape) => Count > 0 ? Count : Name switch
    {
        nameof(ProblemShape.Batch) => shape.Batch,
        nameof(ProblemShape.QueryHeads) => shape.QueryHeads,
        nameof(ProblemShape.KeyValueHeads) => shape.KeyValueHeads,
        nameof(ProblemShape.QueryLength) => shape.QueryLength,
        nameof(ProblemShape.KeyLength) => shape.KeyLength,
        nameof(ProblemShape.HeadDim) => shape.HeadDim,
        _ => throw new InvalidOperationException($"'{Name}' is no size of a problem."),
    };

    /// <inheritdoc/>
    public override string ToString() =>
        Count == 0 || int.TryParse(Name, NumberStyles.None, CultureInfo.InvariantCulture, out _) ? Name
        : string.Create(CultureInfo.InvariantCulture, $"{Name} = {Count}");
}
