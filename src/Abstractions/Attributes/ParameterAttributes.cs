namespace AttnCompose;

/// <summary>
/// A stage property that may change from one instance of a pipeline to the next: a member of the generated <c>Options</c>
/// and a kernel argument. Default and range live here and nowhere else, because a generator cannot see the initialiser of a
/// property in a referenced assembly. On a scalar parameter of a rule it says the same of that.
/// </summary>
[AttributeUsage(AttributeTargets.Property | AttributeTargets.Parameter)]
public sealed class RuntimeParameterAttribute(double defaultValue) : Attribute
{
    /// <summary>The value where the declaration says none. For a bool, 0 or 1.</summary>
    public double Default { get; } = defaultValue;

    /// <summary>Least value allowed.</summary>
    public double Min { get; set; } = double.NegativeInfinity;

    /// <summary>Greatest value allowed.</summary>
    public double Max { get; set; } = double.PositiveInfinity;
}

/// <summary>A stage property that is fixed by the declaration: a constant of the emitted code.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class ConstantParameterAttribute(double defaultValue) : Attribute
{
    /// <summary>The value where the declaration says none. For a bool, 0 or 1.</summary>
    public double Default { get; } = defaultValue;

    /// <summary>Least value allowed.</summary>
    public double Min { get; set; } = double.NegativeInfinity;

    /// <summary>Greatest value allowed.</summary>
    public double Max { get; set; } = double.PositiveInfinity;

    /// <summary>What every value is a multiple of; 0 where any value in the range will do.</summary>
    public double MultipleOf { get; set; }
}
