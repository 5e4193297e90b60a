using System.Globalization;
using System.Text;

namespace AttnCompose;

/// <summary>
/// What the generator decided for a pipeline, as data: stages, kernels, buffers, and why each kernel is separate.
/// <see cref="ToString()"/> prints it.
/// </summary>
public sealed record PipelinePlan
{
    /// <summary>Kebab-case name, such as <c>token-sparse-prefill</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Full name of the declaring type.</summary>
    public required string Type { get; init; }

    /// <summary>The mask.</summary>
    public required AttentionMask Mask { get; init; }

    /// <summary>Head dim where the declaration fixes it, else 0.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Element type where the declaration fixes it.</summary>
    public required ElementType Element { get; init; }

    /// <summary>The stages in the order they run.</summary>
    public required IReadOnlyList<StagePlan> Stages { get; init; }

    /// <summary>The device kernels in the order they are launched.</summary>
    public required IReadOnlyList<KernelPlan> Kernels { get; init; }

    /// <summary>Device workspace buffers.</summary>
    public required IReadOnlyList<BufferPlan> Buffers { get; init; }

    /// <summary>The score and mask rules in the order they apply.</summary>
    public IReadOnlyList<RulePlan> Rules { get; init; } = [];

    /// <summary>In which form the rules run on the CPU, in words; empty where there are none.</summary>
    public string RulesOnCpu { get; init; } = "";

    /// <summary>The tensors that the stages take from the caller of each call.</summary>
    public IReadOnlyList<TensorPlan> Tensors { get; init; } = [];

    /// <summary>Parameters of all stages and rules.</summary>
    public IEnumerable<ParameterPlan> Parameters =>
        Stages.SelectMany(stage => stage.Parameters).Concat(Rules.SelectMany(rule => rule.Parameters));

    /// <summary>Throws where an option's value lies outside its declared range.</summary>
    /// <param name="option">Name of the option.</param>
    /// <param name="value">Its value; a bool is 0 or 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The value is out of range or not a number.</exception>
    public void Check(string option, double value)
    {
        foreach (ParameterPlan parameter in Parameters)
        {
            if (parameter.Name == option && !parameter.Allows(value))
                throw new ArgumentOutOfRangeException(option, value, $"{Name}: {option} must be {parameter.Range}.");
        }
    }

    /// <summary>The whole plan as text.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"pipeline {Name} ({Type})\n");
        text.Append(CultureInfo.InvariantCulture, $"  mask {Lower(Mask)}, head dim {(HeadDim == 0 ? "bound at the first run" : HeadDim)}");
        text.Append(CultureInfo.InvariantCulture, $", element {(Element == ElementType.Any ? "bound at the first run" : Lower(Element))}\n");
        text.Append("\nstages\n");
        for (int i = 0; i < Stages.Count; i++)
        {
            StagePlan stage = Stages[i];
            text.Append(CultureInfo.InvariantCulture, $"  {i + 1}. {Words(stage.Kind)}: {stage.Name}, {stage.Placement}\n");
            foreach (ParameterPlan parameter in stage.Parameters)
                text.Append(CultureInfo.InvariantCulture, $"       {parameter}\n");
        }
        if (Tensors.Count > 0)
        {
            text.Append("\ntensors of the caller\n");
            foreach (TensorPlan tensor in Tensors)
                text.Append(CultureInfo.InvariantCulture, $"  {tensor}\n");
        }
        if (Rules.Count > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nrules, on the CPU {RulesOnCpu}\n");
            for (int i = 0; i < Rules.Count; i++)
            {
                RulePlan rule = Rules[i];
                string spans = rule.Spans.Count == 0 ? "" : $", reads {string.Join(", ", rule.Spans)}";
                text.Append(CultureInfo.InvariantCulture, $"  {i + 1}. {Lower(rule.Kind)}: {rule.Name}{spans}\n");
                foreach (ParameterPlan parameter in rule.Parameters)
                    text.Append(CultureInfo.InvariantCulture, $"       {parameter}\n");
            }
        }
        text.Append("\nkernels\n");
        for (int i = 0; i < Kernels.Count; i++)
        {
            KernelPlan kernel = Kernels[i];
            text.Append(CultureInfo.InvariantCulture, $"  {i + 1}. {kernel.Name}: one block a {kernel.Scope}\n");
            if (kernel.Condition.Length > 0)
                text.Append(CultureInfo.InvariantCulture, $"       launched {kernel.Condition}\n");
            foreach (string step in kernel.Steps)
                text.Append(CultureInfo.InvariantCulture, $"       {step}\n");
            if (kernel.SplitReason.Length > 0)
                text.Append(CultureInfo.InvariantCulture, $"       separate because {kernel.SplitReason}\n");
        }
        if (Buffers.Count > 0)
        {
            text.Append("\nbuffers\n");
            foreach (BufferPlan buffer in Buffers)
            {
                text.Append(CultureInfo.InvariantCulture,
                    $"  {buffer.Name}: {buffer.ElementType} {buffer.Shape}, written by {buffer.Writer}, last read by {buffer.LastReader}\n");
            }
        }
        return text.ToString().TrimEnd('\n');
    }

    private static string Lower<TEnum>(TEnum value) where TEnum : struct, Enum => value.ToString().ToLowerInvariant();

    private static string Words(StageKind kind) => kind switch
    {
        StageKind.TokenScore => "token score",
        StageKind.TokenSelector => "token selector",
        StageKind.Compress => "compress",
        StageKind.BlockSelector => "block selector",
        StageKind.AttentionKernel => "attention kernel",
        _ => "decompress",
    };
}

/// <summary>One stage of a plan.</summary>
/// <param name="Kind">What it is for.</param>
/// <param name="Name">Name of the attribute without its suffix.</param>
/// <param name="Placement">Where its work happens: kernels of its own, or a hook of which loop.</param>
/// <param name="Parameters">Its parameters.</param>
public sealed record StagePlan(StageKind Kind, string Name, string Placement, IReadOnlyList<ParameterPlan> Parameters);

/// <summary>One rule of a plan.</summary>
/// <param name="Name">Name of the method.</param>
/// <param name="Kind">What it decides.</param>
/// <param name="Parameters">Its options; one that several rules share is listed with the first.</param>
/// <param name="Spans">Its arguments of <c>Run</c>: type of an element and name, such as <c>int document</c>.</param>
public sealed record RulePlan(
    string Name, RuleForm Kind, IReadOnlyList<ParameterPlan> Parameters, IReadOnlyList<string> Spans);

/// <summary>One parameter of a stage or rule.</summary>
/// <param name="Name">Name of the property, and of the member of <c>Options</c> when it is a runtime parameter.</param>
/// <param name="Type">C# keyword of its type: double, float, int or bool.</param>
/// <param name="IsConstant">Whether the declaration fixes it.</param>
/// <param name="Value">The declared value, or the stage's default. A bool is 0 or 1.</param>
/// <param name="Min">Least value allowed.</param>
/// <param name="Max">Greatest value allowed.</param>
public sealed record ParameterPlan(string Name, string Type, bool IsConstant, double Value, double Min, double Max)
{
    /// <summary>Whether a value lies in the declared range.</summary>
    public bool Allows(double value) => value >= Min && value <= Max;

    /// <summary>The declared range in words: <c>in [0, 1]</c>, <c>at least 1</c> or empty.</summary>
    public string Range => (double.IsNegativeInfinity(Min), double.IsPositiveInfinity(Max)) switch
    {
        (false, false) => string.Create(CultureInfo.InvariantCulture, $"in [{Min}, {Max}]"),
        (false, true) => string.Create(CultureInfo.InvariantCulture, $"at least {Min}"),
        (true, false) => string.Create(CultureInfo.InvariantCulture, $"at most {Max}"),
        _ => "",
    };

    /// <inheritdoc/>
    public override string ToString()
    {
        string value = Type == "bool" ? (Value != 0 ? "true" : "false") : Value.ToString(CultureInfo.InvariantCulture);
        string range = Range.Length > 0 ? $", {Range}" : "";
        return $"{Name} = {value} ({(IsConstant ? "constant" : "option")} {Type}{range})";
    }
}

/// <summary>One device kernel of a plan.</summary>
/// <param name="Name">Its entry point.</param>
/// <param name="Scope">What one thread block owns, in words.</param>
/// <param name="Steps">What it does, in order: phases and hooks.</param>
/// <param name="SplitReason">Why it is not part of the kernel before it; empty for the first.</param>
public sealed record KernelPlan(string Name, string Scope, IReadOnlyList<string> Steps, string SplitReason)
{
    /// <summary>In which calls it is launched, after "launched"; empty where in every one.</summary>
    public string Condition { get; init; } = "";
}

/// <summary>One workspace buffer of a plan.</summary>
/// <param name="Name">Name in the emitted CUDA.</param>
/// <param name="ElementType">CUDA type of an element.</param>
/// <param name="Shape">Its shape in words.</param>
/// <param name="Writer">Kernel that writes it first.</param>
/// <param name="LastReader">Kernel that reads it last.</param>
public sealed record BufferPlan(string Name, string ElementType, string Shape, string Writer, string LastReader);
