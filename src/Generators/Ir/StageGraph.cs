using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Ir;

/// <summary>
/// The typed, checked meaning of a declaration: stages in the order they run, each with its role. The CPU path is emitted
/// from here; the CUDA comes from the <see cref="Plan.FusionPlan"/> that lowering makes of it.
/// </summary>
/// <param name="Name">Kebab-case name, such as <c>token-sparse-prefill</c>.</param>
/// <param name="Type">The declaring class.</param>
/// <param name="Mask">The mask.</param>
/// <param name="HeadDim">Head dim, or 0 where it is bound at the first run.</param>
/// <param name="Element">Element type, or any where it is bound at the first run.</param>
/// <param name="Nodes">The stages, ordered by kind and then as declared.</param>
/// <param name="Rules">Score and mask rules.</param>
internal sealed record StageGraph(
    string Name, TypeSpec Type, AttentionMask Mask, int HeadDim, ElementType Element, EquatableArray<StageNode> Nodes, RuleNodes Rules)
{
    /// <summary>Arguments that Run has for rules, in order: those of <see cref="Rules"/>, then those of a token score alone.</summary>
    public EquatableArray<RuleSpanNode> Spans { get; init; } = [];

    /// <summary>The stage that is a rule; null where there is none.</summary>
    public StageNode? TokenRule => Nodes.FirstOrDefault(n => n.Stage.Rule is not null);

    public IEnumerable<StageNode> Selectors => Nodes.Where(n => n.Stage.Kind == StageKind.TokenSelector);

    /// <summary>The score that a budget ranks by: the stage before it.</summary>
    public StageNode ScoreOf(StageNode budget) => Nodes[Nodes.ToList().IndexOf(budget) - 1];

    /// <summary>The selector whose choice a stage prunes; null for the first.</summary>
    public StageNode? Pruned(StageNode selector) => Selectors.TakeWhile(s => s != selector).LastOrDefault();

    public StageNode? Compress => Nodes.FirstOrDefault(n => n.Stage.Kind == StageKind.Compress);

    public StageNode? BlockSelector => Nodes.FirstOrDefault(n => n.Stage.Kind == StageKind.BlockSelector);

    public StageNode Kernel => Nodes.First(n => n.Stage.Kind == StageKind.AttentionKernel);

    public StageNode? Decompress => Nodes.FirstOrDefault(n => n.Stage.Kind == StageKind.Decompress);

    /// <summary>
    /// Whether the attention kernel's tiles may be others than its defaults: rules want registers that are the user's, and blocks
    /// have edges.
    /// </summary>
    public bool HasTileChoice => !Rules.Any && BlockSelector is null;

    /// <summary>Tensors that the stages take from the caller.</summary>
    public IEnumerable<TensorSpec> Tensors => Nodes.SelectMany(n => n.Stage.Tensors);

    /// <summary>Members of the generated <c>Options</c>, in order.</summary>
    public IEnumerable<OptionNode> Options => Nodes.SelectMany(n => n.Options).Concat(Rules.Scalars.Select(s => s.Option));
}

/// <summary>The rules of a pipeline and the names that what they are given goes by.</summary>
/// <param name="Spec">What was declared.</param>
/// <param name="Scalars">Scalar parameters.</param>
/// <param name="Spans">Span parameters.</param>
internal sealed record RuleNodes(RulesSpec Spec, EquatableArray<RuleScalarNode> Scalars, EquatableArray<RuleSpanNode> Spans)
{
    /// <summary>Whether there are any.</summary>
    public bool Any => Spec.Rules.Count > 0;

    /// <summary>What its mask rules say of whole tiles.</summary>
    public RangeNodes Ranges { get; init; } = new(false, [], "");

    /// <summary>Kernel argument of the bounds of spans.</summary>
    public const string Bounds = "rule_bounds";

    /// <summary>Kernel argument of a parameter, by its name in C#.</summary>
    public string ArgumentOf(string parameter) =>
        Scalars.FirstOrDefault(s => s.Scalar.Name == parameter)?.Option.Argument ?? Spans.First(s => s.Buffer.Name == parameter).Argument;
}

/// <summary>The mask rules over ranges of positions.</summary>
/// <param name="Any">Whether they have such a form.</param>
/// <param name="Bounded">Names of the spans whose bounds a kernel of its own finds first.</param>
/// <param name="Why">Why there is no such form; empty where there are no mask rules.</param>
internal sealed record RangeNodes(bool Any, EquatableArray<string> Bounded, string Why);

/// <summary>A scalar parameter of rules.</summary>
/// <param name="Scalar">What was declared.</param>
/// <param name="Option">The option that it is.</param>
internal sealed record RuleScalarNode(RuleScalar Scalar, OptionNode Option);

/// <summary>A span parameter of rules.</summary>
/// <param name="Buffer">What was declared.</param>
/// <param name="Member">Name of the field of the generated hook, unique in it.</param>
/// <param name="Argument">Kernel argument, unique in the pipeline.</param>
/// <param name="Axes">Parts of the problem that rules index it by.</param>
internal sealed record RuleSpanNode(RuleBuffer Buffer, string Member, string Argument, RuleAxes Axes)
{
    /// <summary>The argument of Run as it is spelt in C#.</summary>
    public string Identifier => Names.CSharp(Buffer.Name);
}

/// <summary>A stage at its place.</summary>
/// <param name="Stage">What its attribute says.</param>
/// <param name="Role">Name of its device type in the emitted CUDA, unique in the pipeline, such as <c>Selector</c>.</param>
/// <param name="Field">Name of its field in the generated class, such as <c>_tokenCoverage</c>.</param>
/// <param name="Options">Its runtime parameters.</param>
internal sealed record StageNode(StageSpec Stage, string Role, string Field, EquatableArray<OptionNode> Options)
{
    /// <summary>Its device side; the builder has made sure that there is one.</summary>
    public DeviceSpec Device => Stage.Device!;
}

/// <summary>A runtime parameter and the names that it goes by.</summary>
/// <param name="Parameter">The parameter.</param>
/// <param name="Member">Member of the generated <c>Options</c>, unique in the pipeline.</param>
/// <param name="Argument">Kernel argument, unique in the pipeline.</param>
internal sealed record OptionNode(ParameterSpec Parameter, string Member, string Argument)
{
    /// <summary>The member as it is spelt in C#.</summary>
    public string Identifier => Names.CSharp(Member);
}
