using System.Globalization;

namespace AttnCompose;

/// <summary>
/// A declared pipeline as a value, for programs that choose one by name: its plan and a factory that takes options by name.
/// Generated pipelines expose theirs as <c>Descriptor</c>.
/// </summary>
/// <param name="plan">The pipeline's plan.</param>
/// <param name="create">Makes an instance from a device and parsed option values.</param>
public sealed class PipelineDescriptor(PipelinePlan plan, Func<AttentionDevice, IReadOnlyDictionary<string, double>, IAttentionPipeline> create)
{
    /// <summary>Kebab-case name.</summary>
    public string Name => Plan.Name;

    /// <summary>The pipeline's plan.</summary>
    public PipelinePlan Plan { get; } = plan;

    /// <summary>The emitted CUDA text.</summary>
    public required string CudaSource { get; init; }

    /// <summary>Makes an instance. Option names are those of the generated <c>Options</c>.</summary>
    /// <exception cref="ArgumentException">An option is unknown, is a constant of the emitted code, or does not parse.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option lies outside its range.</exception>
    public IAttentionPipeline Create(AttentionDevice device, IEnumerable<KeyValuePair<string, string>> settings)
    {
        var values = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach ((string name, string text) in settings)
            values[name] = Parse(name, text);
        return create(device, values);
    }

    private double Parse(string name, string text)
    {
        ParameterPlan parameter = Plan.Parameters.FirstOrDefault(p => p.Name == name)
            ?? throw new ArgumentException(
                $"{Name} has no parameter '{name}'. It has: {string.Join(", ", Plan.Parameters.Where(p => !p.IsConstant).Select(p => p.Name).DefaultIfEmpty("none"))}.");
        if (parameter.IsConstant)
            throw new ArgumentException($"{name} is a constant of {Name}'s emitted code. Declare a pipeline of your own to change it.");
        double value;
        if (parameter.Type == "bool" && bool.TryParse(text, out bool flag))
            value = flag ? 1 : 0;
        else if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value) || !double.IsFinite(value)
            || (parameter.Type == "int" && (value != Math.Truncate(value) || Math.Abs(value) > int.MaxValue)))
            throw new ArgumentException($"{name} is of type {parameter.Type}; '{text}' is not.");
        if (!parameter.Allows(value))
            throw new ArgumentOutOfRangeException(name, text, $"{name} must be {parameter.Range}.");
        return value;
    }
}
