using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Plan;

/// <summary>
/// Every decision taken about the CUDA side: which kernels there are, which stage is a hook of which loop, which buffers and
/// arguments they take, and why each kernel is separate. The emitters write this down and decide nothing.
/// </summary>
/// <param name="Graph">What is lowered.</param>
/// <param name="Kernels">Kernels in the order they are launched.</param>
/// <param name="Buffers">Workspace buffers.</param>
/// <param name="Hooks">What hooks into the attention loop.</param>
internal sealed record FusionPlan(
    StageGraph Graph, EquatableArray<KernelNode> Kernels, EquatableArray<BufferNode> Buffers, EquatableArray<HookNode> Hooks)
{
    /// <summary>The hook of the scores; null where the loop has none.</summary>
    public HookNode? Score => Hooks.FirstOrDefault(h => h.Point == FusionPoint.Score);

    /// <summary>What the names of types begin with that belong to <see cref="KernelPath.Gathered"/>.</summary>
    public const string Gathered = "Gathered";

    /// <summary>What hooks into the loop where rows were gathered ahead; empty where they never are.</summary>
    public EquatableArray<HookNode> GatheredHooks { get; init; } = [];

    /// <summary>The hooks that a phase of a kernel is given, in the order of its template parameters.</summary>
    public IEnumerable<HookNode> HooksOf(KernelNode kernel, StepNode step) =>
        (kernel.Path == KernelPath.Gathered ? GatheredHooks : Hooks).Where(h => (step.Given & h.Point) != 0);
}

/// <summary>One kernel.</summary>
/// <param name="Entry">Name of its entry point.</param>
/// <param name="Scope">What one block owns.</param>
/// <param name="Steps">Phases that run one after another in it.</param>
/// <param name="SplitReason">Why it is not part of the kernel before it; empty for the first.</param>
/// <param name="Arguments">Its arguments after the problem, in order.</param>
internal sealed record KernelNode(
    string Entry, PhaseScope Scope, EquatableArray<StepNode> Steps, string SplitReason, EquatableArray<ArgumentNode> Arguments)
{
    /// <summary>In which calls it is launched.</summary>
    public KernelPath Path { get; init; }
}

/// <summary>In which calls a kernel is launched.</summary>
internal enum KernelPath
{
    /// <summary>In every call.</summary>
    Every,

    /// <summary>Where the loop copies the rows that take part as it goes.</summary>
    InLoop,

    /// <summary>Where rows are gathered ahead: by turns with the other such kernels, for some heads at a time.</summary>
    Gathered,
}

/// <summary>One phase inside a kernel.</summary>
/// <param name="Stage">Index of its stage in the graph.</param>
/// <param name="Phase">Name of the phase.</param>
/// <param name="Summary">What it does, one line.</param>
/// <param name="Reads">What it reads of other phases' results, by plan-wide buffer name.</param>
/// <param name="Writes">What it writes for other phases, by plan-wide buffer name.</param>
/// <param name="Arguments">What it is given, in the order of its device struct.</param>
/// <param name="TakesHooks">Whether it is the attention loop, which the hooks become part of.</param>
/// <param name="Given">Fusion points whose hooks it is given: all of them for the attention loop.</param>
/// <param name="Type">CUDA type of the phase where it is no stage's; empty where it is the stage's phase of that name.</param>
internal sealed record StepNode(
    int Stage,
    string Phase,
    string Summary,
    EquatableArray<string> Reads,
    EquatableArray<string> Writes,
    EquatableArray<ArgumentNode> Arguments,
    bool TakesHooks,
    FusionPoint Given,
    string Type = "")
{
    /// <summary>What the rule is given that the stage is made of, members of its device struct; empty for any other stage.</summary>
    public EquatableArray<ArgumentNode> RuleArguments { get; init; } = [];
}

/// <summary>Something given to a kernel or a hook.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Member">Name of the member of the device struct that it fills.</param>
/// <param name="Name">Name of the kernel argument, unique in the pipeline.</param>
/// <param name="DeviceType">CUDA type of the kernel argument.</param>
/// <param name="Stage">Stage that a parameter, a buffer, a tensor argument or the tensors behind tensor maps belong to; -1 for those of the problem and of rules.</param>
/// <param name="IsWritten">Whether the kernel writes through it.</param>
internal sealed record ArgumentNode(ArgumentKind Kind, string Member, string Name, string DeviceType, int Stage, bool IsWritten);

/// <summary>What a kernel argument is.</summary>
internal enum ArgumentKind
{
    Buffer,
    TokenIndex,
    BlockList,
    Heads,
    Tensor,
    TensorMaps,
    Parameter,
    RuleScalar,
    RuleSpan,
    RuleBounds,
}

/// <summary>One workspace buffer.</summary>
/// <param name="Stage">Stage that describes its size.</param>
/// <param name="Local">Its name in that stage.</param>
/// <param name="Name">Its name in the plan, unique in the pipeline.</param>
/// <param name="ElementType">CUDA type of an element.</param>
/// <param name="Shape">Its shape in words.</param>
/// <param name="Writer">Entry point that writes it first.</param>
/// <param name="LastReader">Entry point that reads it last.</param>
internal sealed record BufferNode(
    int Stage, string Local, string Name, string ElementType, string Shape, string Writer, string LastReader);

/// <summary>One hook of the attention loop.</summary>
/// <param name="Point">Where it hooks in.</param>
/// <param name="Stage">Stage that it is; -1 for the loop's default.</param>
/// <param name="Alias">Name of its type in the emitted CUDA.</param>
/// <param name="Summary">What it does, one line.</param>
/// <param name="Arguments">What it is given.</param>
internal sealed record HookNode(FusionPoint Point, int Stage, string Alias, string Summary, EquatableArray<ArgumentNode> Arguments);
