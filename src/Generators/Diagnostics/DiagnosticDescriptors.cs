using System.Collections.Generic;
using System.Linq;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Diagnostics;

/// <summary>
/// Every rule, in numeric order: 00xx the declaring class, 001x the order of stages, 002x values, 003x rules, 004x block lists, 005x token
/// scores and budgets, 01xx stages themselves.
/// </summary>
internal static class DiagnosticDescriptors
{
    public static readonly DiagnosticDescriptor NotPartial = Rule(
        "ATTN0001", "A pipeline class must be partial",
        "'{0}' is an attention pipeline and must be declared partial, so that the generator can add to it");

    public static readonly DiagnosticDescriptor CannotExtend = Rule(
        "ATTN0002", "A pipeline class must be one that the generator can extend",
        "'{0}' cannot be an attention pipeline: {1}");

    public static readonly DiagnosticDescriptor NotDeclared = Rule(
        "ATTN0003", "A class with stages must be declared a pipeline",
        "'{0}' has the stage '{1}' but is no pipeline, so nothing is generated for it; add [AttentionPipeline]");

    public static readonly DiagnosticDescriptor NoKernel = Rule(
        "ATTN0010", "A pipeline needs an attention kernel",
        "'{0}' has no attention kernel; add one, such as [FlashAttention]");

    public static readonly DiagnosticDescriptor TwoOfAKind = Rule(
        "ATTN0011", "A pipeline has one stage of this kind",
        "'{0}' has the {1} '{2}' already; a pipeline takes one, so remove '{3}'");

    public static readonly DiagnosticDescriptor CompressWithoutSelector = Rule(
        "ATTN0012", "Compress needs a token selector",
        "'{0}' compresses what a token selector chose, and there is none; add one, such as [TokenCoverage], or remove '{0}'");

    public static readonly DiagnosticDescriptor SelectorWithoutCompress = Rule(
        "ATTN0013", "A token selector needs a compress stage",
        "'{0}' chooses tokens, and no stage makes use of them; add a compress stage, such as [GatherTokens]");

    public static readonly DiagnosticDescriptor SelectorWithoutDecompress = Rule(
        "ATTN0014", "A token selector needs a decompress stage",
        "'{0}' shortens the sequence, and no stage puts results back at their places; add a decompress stage, such as [ScatterTokens]{1}");

    public static readonly DiagnosticDescriptor DecompressWithoutCompress = Rule(
        "ATTN0015", "Decompress needs a compressed sequence",
        "'{0}' puts rows of a compressed sequence back, and nothing compresses it; add a token selector and a compress stage, or remove '{0}'");

    public static readonly DiagnosticDescriptor NoFusionPoint = Rule(
        "ATTN0016", "The attention kernel must offer what a stage hooks into",
        "'{0}' hooks into the {1} of the attention loop, which '{2}' does not offer");

    public static readonly DiagnosticDescriptor NoDeviceSide = Rule(
        "ATTN0017", "A stage in a pipeline needs a CUDA side",
        "'{0}' has no CUDA side that a pipeline can use: {1}");

    public static readonly DiagnosticDescriptor CannotMake = Rule(
        "ATTN0018", "A stage must be one that generated code can make",
        "'{0}' cannot be a stage of a pipeline: {1}");

    public static readonly DiagnosticDescriptor SelectorIgnoresChoice = Rule(
        "ATTN0019", "A later token selector prunes the choice before it",
        "'{0}' stands after '{1}' and would discard what it chose: no phase of '{0}' reads token_index; use one of the two, or a selector that prunes");

    public static readonly DiagnosticDescriptor BadHeadDim = Rule(
        "ATTN0020", "Head dim must be a multiple of 8 in [8, 256]",
        "HeadDim = {0} is not a multiple of 8 in [8, 256]; leave it out to bind it at the first call of Run");

    public static readonly DiagnosticDescriptor ElementNotTaken = Rule(
        "ATTN0021", "A stage must take the declared element type",
        "'{0}' takes {1}, not {2}; leave Element out to bind it at the first call of Run (on the CPU every element type is taken)");

    public static readonly DiagnosticDescriptor OutOfRange = Rule(
        "ATTN0022", "A parameter must lie in its declared range",
        "{0} = {1} is out of range: it must be {2}");

    public static readonly DiagnosticDescriptor NoSuchMember = Rule(
        "ATTN0023", "Mask and Element must be members of their enums",
        "{0} = {1} is not a member of {2}");

    public static readonly DiagnosticDescriptor TensorTakenTwice = Rule(
        "ATTN0024", "A tensor argument belongs to one stage",
        "'{0}' and '{1}' both take a tensor '{2}' from the caller, and a call has one of that name; remove one of them, or rename the tensor of one stage");

    public static readonly DiagnosticDescriptor BadRule = Rule(
        "ATTN0030", "A rule must have the form of one",
        "'{0}' cannot be a {1}: {2}");

    public static readonly DiagnosticDescriptor BadRuleParameter = Rule(
        "ATTN0031", "A parameter of a rule must be usable",
        "'{0}' cannot be a parameter of a rule: {1}");

    public static readonly DiagnosticDescriptor NotTranslatable = Rule(
        "ATTN0032", "A rule must have a device form",
        "'{0}' has no device form: {1}");

    public static readonly DiagnosticDescriptor UnboundedLoop = Rule(
        "ATTN0033", "A loop in a rule must show its bound",
        "The end of this loop cannot be seen: {0}");

    public static readonly DiagnosticDescriptor RulesNotApplied = Rule(
        "ATTN0034", "A stage that scores must apply the pipeline's rules",
        "'{0}' reads query and key and applies no rules, so it would choose by scores that '{1}' has not changed; use a stage that applies them, such as [TokenCoverage] or [VerticalSlash]");

    public static readonly DiagnosticDescriptor RuleOfNoPipeline = Rule(
        "ATTN0035", "A rule must be a method of a pipeline class",
        "'{0}' is a rule of '{1}', which is no pipeline, so it has no effect; move it into a class with [AttentionPipeline]");

    public static readonly DiagnosticDescriptor BlocksWithoutKernel = Rule(
        "ATTN0040", "A block selector needs a block-sparse kernel",
        "'{0}' chooses key blocks, and '{1}' visits every block; use a kernel that takes a block list, such as [BlockSparseAttention], or remove '{0}'");

    public static readonly DiagnosticDescriptor KernelWithoutBlocks = Rule(
        "ATTN0041", "A block-sparse kernel needs a block selector",
        "'{0}' visits the key blocks of a list, and no stage makes one; add a block selector, such as [GivenBlocks], or use [FlashAttention]");

    public static readonly DiagnosticDescriptor BudgetWithoutScore = Rule(
        "ATTN0050", "A token budget needs a token score",
        "'{0}' says how many tokens are kept, and no score before it says which; put one right before it, such as [RecentQueries]");

    public static readonly DiagnosticDescriptor ScoreWithoutBudget = Rule(
        "ATTN0051", "A token score needs a token budget",
        "'{0}' says which tokens matter, and {1}");

    public static readonly DiagnosticDescriptor TwoBudgets = Rule(
        "ATTN0052", "A token score has one budget",
        "'{0}' would say again how many tokens are kept, which '{1}' has said; remove one of them, or give '{0}' a score of its own so that it prunes that choice");

    public static readonly DiagnosticDescriptor NoParameterKind = Rule(
        "ATTN0101", "A stage parameter must say what it is",
        "'{0}' is a settable property of a stage; mark it [RuntimeParameter] (an option) or [ConstantParameter] (a constant of the emitted code), or make it read-only");

    public static readonly DiagnosticDescriptor NoHeader = Rule(
        "ATTN0102", "A stage's device header must exist",
        "'{0}' names the device header '{1}', which is not among the project's .cuh files; put it beside the stage, and import AttnCompose.Abstractions.props where no package does");

    public static readonly DiagnosticDescriptor BadParameter = Rule(
        "ATTN0103", "A stage parameter must be usable",
        "'{0}' cannot be a stage parameter: {1}");

    public static readonly DiagnosticDescriptor UnknownName = Rule(
        "ATTN0104", "A device phase or hook must name what exists",
        "'{0}' names '{1}', which is neither a tensor of the problem, a [DeviceBuffer], a [TensorArgument] nor a parameter of '{2}'");

    public static readonly DiagnosticDescriptor BadTensor = Rule(
        "ATTN0105", "A tensor argument must be usable",
        "'{0}' cannot be a tensor argument: {1}");

    private static readonly Dictionary<string, DiagnosticDescriptor> s_byId = new[]
    {
        NotPartial, CannotExtend, NotDeclared, NoKernel, TwoOfAKind, CompressWithoutSelector, SelectorWithoutCompress, SelectorWithoutDecompress,
        DecompressWithoutCompress, NoFusionPoint, NoDeviceSide, CannotMake, SelectorIgnoresChoice, BadHeadDim, ElementNotTaken, OutOfRange, NoSuchMember,
        TensorTakenTwice,
        BadRule, BadRuleParameter, NotTranslatable, UnboundedLoop, RulesNotApplied, RuleOfNoPipeline, BlocksWithoutKernel, KernelWithoutBlocks,
        BudgetWithoutScore, ScoreWithoutBudget, TwoBudgets, NoParameterKind, NoHeader, BadParameter, UnknownName, BadTensor,
    }.ToDictionary(rule => rule.Id);

    public static IEnumerable<DiagnosticDescriptor> All => s_byId.Values.OrderBy(rule => rule.Id, System.StringComparer.Ordinal);

    public static DiagnosticDescriptor ById(string id) => s_byId[id];

    private static DiagnosticDescriptor Rule(string id, string title, string message) =>
        new(id, title, message, "AttnCompose", DiagnosticSeverity.Error, isEnabledByDefault: true,
            helpLinkUri: $"docs/diagnostics/{id}.md");
}
