using System.Linq;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Model;

/// <summary>One stage of a declaration: what its attribute type says of it, and the parameter values that were declared.</summary>
/// <param name="Kind">What it is for.</param>
/// <param name="Name">Name of the attribute without its suffix, such as <c>TokenCoverage</c>.</param>
/// <param name="TypeName">Fully qualified C# name of the attribute type.</param>
/// <param name="Device">Its CUDA side; null where the attribute has no [DeviceStage].</param>
/// <param name="Parameters">Its parameters, in declared order.</param>
internal sealed record StageSpec(
    StageKind Kind, string Name, string TypeName, DeviceSpec? Device, EquatableArray<ParameterSpec> Parameters)
{
    /// <summary>Whether it is a token selector that takes its scores from the token score before it.</summary>
    public bool IsBudget { get; init; }

    /// <summary>The rule that a token score is made of; null for a stage that is an attribute.</summary>
    public TokenRuleSpec? Rule { get; init; }

    /// <summary>Tensors that it takes from the caller.</summary>
    public EquatableArray<TensorSpec> Tensors { get; init; } = [];
}

/// <summary>A tensor that a stage takes from the caller: see TensorArgumentAttribute.</summary>
internal sealed record TensorSpec(string Name, string ElementType, EquatableArray<ExtentSpec> Shape, string Summary)
{
    /// <summary>Types that an element may have, alike in C# and CUDA.</summary>
    public static readonly string[] ElementTypes = ["float", "int"];

    /// <summary>Name of the member of the generated <c>Tensors</c>.</summary>
    public string Member => Names.Pascal(Name);

    /// <summary>Type and shape, such as <c>float [QueryHeads, HeadDim, GateDim]</c>.</summary>
    public string Words => $"{ElementType} [{string.Join(", ", Shape.Select(extent => extent.Name))}]";
}

/// <summary>The length of a dimension of a tensor argument.</summary>
/// <param name="Name">A size of the problem, a constant of the stage or a number, as it was written.</param>
/// <param name="Count">The constant or number; 0 for a size of the problem.</param>
internal sealed record ExtentSpec(string Name, int Count)
{
    /// <summary>The sizes of a problem: members of ProblemShape.</summary>
    public static readonly string[] Sizes = ["Batch", "QueryHeads", "KeyValueHeads", "QueryLength", "KeyLength", "HeadDim"];
}

/// <summary>A parameter and its value here.</summary>
/// <param name="Name">The property's name.</param>
/// <param name="Type">C# keyword: double, float, int or bool; int for an enum.</param>
/// <param name="IsConstant">Whether the emitted code fixes it.</param>
/// <param name="Value">Declared value, else the default; a bool is 0 or 1.</param>
/// <param name="Min">Least value allowed.</param>
/// <param name="Max">Greatest value allowed.</param>
/// <param name="DocumentationId">Id of the property's documentation; it may be declared by a base of the stage.</param>
/// <param name="MultipleOf">What every value is a multiple of; 0 where any value in the range will do.</param>
internal sealed record ParameterSpec(
    string Name, string Type, bool IsConstant, double Value, double Min, double Max, string DocumentationId, double MultipleOf = 0)
{
    /// <summary>Fully qualified C# name of the enum that the property's type is; empty for another type.</summary>
    public string EnumName { get; init; } = "";

    /// <summary>The property's name as it is spelt in C#.</summary>
    public string Identifier => Names.CSharp(Name);

    /// <summary>Whether the type can hold the value, and it is a multiple of what it must be a multiple of.</summary>
    public bool Fits => CanHold(Type, Value) && IsMultiple(Value, MultipleOf);

    /// <summary>Whether a number is a multiple of another, or that is 0.</summary>
    public static bool IsMultiple(double value, double of) => of == 0 || value % of == 0;

    /// <summary>Whether a type can hold a number.</summary>
    public static bool CanHold(string type, double value) => type switch
    {
        "int" => value == System.Math.Truncate(value) && value is >= int.MinValue and <= int.MaxValue,
        "float" => System.Math.Abs(value) <= float.MaxValue,
        "bool" => value is 0 or 1,
        _ => !double.IsNaN(value) && !double.IsInfinity(value),
    };
}

/// <summary>The CUDA side of a stage.</summary>
/// <param name="Assembly">Simple name of the assembly that embeds the header.</param>
/// <param name="Header">File name of the header.</param>
/// <param name="Type">Struct template in namespace attn.</param>
/// <param name="Offers">Fusion points of an attention kernel.</param>
/// <param name="Elements">Element types taken; empty for all.</param>
/// <param name="Phases">Work that may be kernels, in order.</param>
/// <param name="Hook">The hook that the stage is; null where it is none.</param>
/// <param name="Buffers">Workspace buffers.</param>
internal sealed record DeviceSpec(
    string Assembly,
    string Header,
    string Type,
    FusionPoint Offers,
    EquatableArray<ElementType> Elements,
    EquatableArray<PhaseSpec> Phases,
    HookSpec? Hook,
    EquatableArray<BufferSpec> Buffers)
{
    /// <summary>How a compress stage gathers ahead of the loop; null where it does not.</summary>
    public GatherSpec? Gather { get; init; }
}

/// <summary>A phase: see DevicePhaseAttribute.</summary>
internal sealed record PhaseSpec(
    string Name,
    PhaseScope Scope,
    EquatableArray<string> Reads,
    EquatableArray<string> Writes,
    EquatableArray<string> Parameters,
    bool AppliesRules,
    string Summary);

/// <summary>A hook: see DeviceHookAttribute.</summary>
internal sealed record HookSpec(
    FusionPoint Point, EquatableArray<string> Reads, EquatableArray<string> Parameters, string Summary);

/// <summary>Gathering ahead: see DeviceGatherAttribute.</summary>
internal sealed record GatherSpec(string Type, string Key, string Value, EquatableArray<string> Reads, string Summary);

/// <summary>A workspace buffer: see DeviceBufferAttribute.</summary>
internal sealed record BufferSpec(string Name, string ElementType, string Shape)
{
    /// <summary>The buffer that a token score writes, and the budget behind it reads.</summary>
    public const string RawScores = "raw_scores";
}
