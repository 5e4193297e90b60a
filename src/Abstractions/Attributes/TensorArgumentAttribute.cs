namespace AttnCompose;

/// <summary>
/// A tensor that a stage takes from the caller of each call, such as the weights of a learned gate. It becomes a required member
/// of the generated <c>Tensors</c> and <c>CudaTensors</c>, which a call has in <see cref="AttentionArguments{T, TOut}.Tensors"/>
/// or its CUDA counterpart; <c>query_gate</c> is the member <c>QueryGate</c>.
/// </summary>
/// <remarks>
/// It lies without gaps, in the order of its shape. On the CPU the stage asks <see cref="Cpu.CpuExecution.Tensor{T}"/> for it; a
/// device phase names it in <see cref="DevicePhaseAttribute.Reads"/> and has a <c>const</c> pointer to its elements in
/// <c>Arguments</c>. A tensor that is missing, or of another shape or element type, is refused before anything is computed. Two
/// stages of a pipeline cannot take tensors of one name.
/// </remarks>
/// <example>
/// <code>
/// [TensorArgument("query_gate", "float", Shape = ["QueryHeads", "HeadDim", "GateDim"])]
/// </code>
/// </example>
/// <param name="name">Its name in snake case, as <see cref="DevicePhaseAttribute.Reads"/> has it.</param>
/// <param name="elementType">Type of an element: <c>float</c> or <c>int</c>.</param>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true)]
public sealed class TensorArgumentAttribute(string name, string elementType) : Attribute
{
    /// <summary>Its name.</summary>
    public string Name { get; } = name;

    /// <summary>Type of an element.</summary>
    public string ElementType { get; } = elementType;

    /// <summary>
    /// The length of each dimension: <c>Batch</c>, <c>QueryHeads</c>, <c>KeyValueHeads</c>, <c>QueryLength</c>, <c>KeyLength</c> or
    /// <c>HeadDim</c> of the problem (<see cref="ProblemShape"/>), a <see cref="ConstantParameterAttribute"/> of the stage of type
    /// int, or a whole number.
    /// </summary>
    public required string[] Shape { get; set; }

    /// <summary>What it is, one line, for the plan and for the documentation of the generated member.</summary>
    public string Summary { get; set; } = "";
}
