using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using AttnCompose.Generators.Translation;

namespace AttnCompose.Generators.Ir;

/// <summary>
/// <see cref="PipelineSpec"/> to <see cref="StageGraph"/>: puts stages in order and refuses what cannot work. Pure: it knows
/// neither Roslyn nor places in files; a problem names the stage and argument at fault.
/// </summary>
internal static class StageGraphBuilder
{
    // Members that a record has anyway, and those that the generator adds.
    private static readonly string[] s_optionsMembers =
    [
        "Options", "From", "Equals", "GetHashCode", "GetType", "ToString", "MemberwiseClone", "ReferenceEquals", "Finalize", "Clone",
        "PrintMembers", "EqualityContract",
    ];

    public static (StageGraph? Graph, EquatableArray<Problem> Problems) Build(PipelineSpec spec)
    {
        var problems = new List<Problem>();
        CheckOrder(spec, problems);
        CheckScores(spec, problems);
        CheckHooks(spec, problems);
        CheckRules(spec, problems);
        CheckValues(spec, problems);
        CheckTensors(spec, problems);
        return problems.Count > 0 ? (null, problems.ToEquatableArray()) : (Assemble(spec), []);
    }

    private static void CheckOrder(PipelineSpec spec, List<Problem> problems)
    {
        int? selector = null, compress = null, blocks = null, kernel = null, decompress = null;
        for (int i = 0; i < spec.Stages.Count; i++)
        {
            switch (spec.Stages[i].Kind)
            {
                case StageKind.TokenSelector: Chain(i); break;
                case StageKind.Compress: Only(ref compress, i, "compress stage"); break;
                case StageKind.BlockSelector: Only(ref blocks, i, "block selector"); break;
                case StageKind.AttentionKernel: Only(ref kernel, i, "attention kernel"); break;
                case StageKind.Decompress: Only(ref decompress, i, "decompress stage"); break;
            }
        }
        if (kernel is null)
            problems.Add(new("ATTN0010", -1, "", [spec.Type.Name]));
        if (compress is { } c && selector is null)
            problems.Add(new("ATTN0012", c, "", [spec.Stages[c].Name]));
        if (selector is { } s && compress is null)
            problems.Add(new("ATTN0013", s, "", [spec.Stages[s].Name]));
        if (selector is { } t && decompress is null)
            problems.Add(new("ATTN0014", t, "", [spec.Stages[t].Name, WhyNotKeysAlone(spec.Mask)]));
        if (decompress is { } d && selector is null)
            problems.Add(new("ATTN0015", d, "", [spec.Stages[d].Name]));
        if (kernel is { } k && spec.Stages[k].Device is { } loop)
        {
            bool takesBlocks = (loop.Offers & FusionPoint.BlockList) != 0;
            if (blocks is { } b && !takesBlocks)
                problems.Add(new("ATTN0040", b, "", [spec.Stages[b].Name, spec.Stages[k].Name]));
            if (blocks is null && takesBlocks)
                problems.Add(new("ATTN0041", k, "", [spec.Stages[k].Name]));
        }

        // A later selector prunes the choice of the one before it, so it has to read that choice.
        void Chain(int i)
        {
            if (selector is { } f && spec.Stages[i].Device is { } device && !device.Phases.Any(p => p.Reads.Contains("token_index")))
                problems.Add(new("ATTN0019", i, "", [spec.Stages[i].Name, spec.Stages[f].Name]));
            selector ??= i;
        }

        void Only(ref int? first, int i, string what)
        {
            if (first is { } f)
                problems.Add(new("ATTN0011", i, "", [spec.Type.Name, what, spec.Stages[f].Name, spec.Stages[i].Name]));
            first ??= i;
        }
    }

    // Who leaves the decompress stage out may want keys compressed and every query kept.
    private static string WhyNotKeysAlone(AttentionMask mask) => mask == AttentionMask.Causal
        ? ". Keys and values cannot be compressed alone: under the causal mask a query's place among the kept keys follows from its own row, and a query that was dropped has none"
        : "";

    // A token score stands right before the budget that ranks by it.
    private static void CheckScores(PipelineSpec spec, List<Problem> problems)
    {
        List<int> choosing = Enumerable.Range(0, spec.Stages.Count).Where(i => OrderOf(spec.Stages[i].Kind) == StageKind.TokenSelector).ToList();
        for (int n = 0; n < choosing.Count; n++)
        {
            int i = choosing[n];
            StageSpec stage = spec.Stages[i];
            StageSpec? before = n > 0 ? spec.Stages[choosing[n - 1]] : null;
            StageSpec? after = n + 1 < choosing.Count ? spec.Stages[choosing[n + 1]] : null;
            if (stage.IsBudget && before is { IsBudget: true })
                problems.Add(new("ATTN0052", i, "", [stage.Name, before.Name]));
            else if (stage.IsBudget && before?.Kind != StageKind.TokenScore)
                problems.Add(new("ATTN0050", i, "", [stage.Name]));
            if (stage.Kind != StageKind.TokenScore)
                continue;
            if (after is not { IsBudget: true })
                problems.Add(new("ATTN0051", i, "", [stage.Name, stage.Rule is null ? BudgetBehind : BudgetOfRule]));
            if (stage.Device is { Phases.Count: > 0 } device && !device.Phases.Any(p => p.Writes.Contains(BufferSpec.RawScores)))
                problems.Add(new("ATTN0017", i, "", [stage.Name, $"none of its phases writes {BufferSpec.RawScores}"]));
        }
    }

    private const string BudgetBehind = "no budget behind it says how many are kept; put one right behind it, such as [FixedCount]";
    private const string BudgetOfRule = "the class has no budget without a score, which would say how many are kept; add one, such as [FixedCount]";

    /// <summary>Token scores and selectors run as declared, before everything else.</summary>
    private static StageKind OrderOf(StageKind kind) => kind == StageKind.TokenScore ? StageKind.TokenSelector : kind;

    private static void CheckHooks(PipelineSpec spec, List<Problem> problems)
    {
        StageSpec? kernel = spec.Stages.FirstOrDefault(s => s.Kind == StageKind.AttentionKernel);
        for (int i = 0; i < spec.Stages.Count; i++)
        {
            StageSpec stage = spec.Stages[i];
            if (stage.Device is not { Header.Length: > 0, Type.Length: > 0 } device)
            {
                problems.Add(new("ATTN0017", i, "", [stage.Name, "it has no [DeviceStage] with a header and a Type"]));
                continue;
            }
            FusionPoint needed = stage.Kind switch
            {
                StageKind.Compress => FusionPoint.RowSource,
                StageKind.Decompress => FusionPoint.RowDestination,
                _ => FusionPoint.None,
            };
            if (stage.Kind == StageKind.BlockSelector)
            {
                if (FaultOfBlockSelector(device) is { } fault)
                    problems.Add(new("ATTN0017", i, "", [stage.Name, fault]));
            }
            else if (needed != FusionPoint.None && device.Hook?.Point != needed)
                problems.Add(new("ATTN0017", i, "", [stage.Name, $"it needs [DeviceHook(FusionPoint.{needed})]"]));
            else if (device.Gather is { } gather && WhyNotGathered(stage, device, gather) is { } why)
                problems.Add(new("ATTN0017", i, "", [stage.Name, why]));
            else if (needed == FusionPoint.None && device.Phases.Count == 0)
                problems.Add(new("ATTN0017", i, "", [stage.Name, "it needs at least one [DevicePhase]"]));
            else if (device.Phases.FirstOrDefault(p => !Enum.IsDefined(typeof(PhaseScope), p.Scope)) is { } phase)
                problems.Add(new("ATTN0017", i, "", [stage.Name, $"the scope of its phase '{phase.Name}' is no member of PhaseScope"]));
            else if (kernel is { Device: { } offering } && device.Hook is { } hook && (offering.Offers & hook.Point) != hook.Point)
                problems.Add(new("ATTN0016", i, "", [stage.Name, Words(hook.Point), kernel.Name]));
        }
    }

    // One that computes a list has phases that write it; one whose list is there already says that it is the hook.
    private static string? FaultOfBlockSelector(DeviceSpec device)
    {
        if (device.Phases.Count == 0)
            return device.Hook?.Point == FusionPoint.BlockList ? null : "it needs a [DevicePhase] that writes block_list";
        return device.Phases.Any(p => p.Writes.Contains("block_list")) ? null : "none of its phases writes block_list";
    }

    private static void CheckRules(PipelineSpec spec, List<Problem> problems)
    {
        if (spec.Rules.Rules.Count == 0)
            return;
        bool changeScores = spec.Rules.ChangeScores;
        string first = spec.Rules.Rules[0].Method.CSharpName;
        for (int i = 0; i < spec.Stages.Count; i++)
        {
            if (spec.Stages[i] is not { Device: { } device } stage)
                continue;
            if (stage.Kind == StageKind.AttentionKernel && (device.Offers & FusionPoint.Score) == 0)
                problems.Add(new("ATTN0016", i, "", [first, Words(FusionPoint.Score), stage.Name]));
            bool scores = new[] { "query", "key" }.All(name => device.Phases.Any(p => p.Reads.Contains(name)));
            if (changeScores && stage.Kind != StageKind.AttentionKernel && scores && !device.Phases.Any(p => p.AppliesRules))
                problems.Add(new("ATTN0034", i, "", [stage.Name, first]));
        }
    }

    private static string? WhyNotGathered(StageSpec stage, DeviceSpec device, GatherSpec gather)
    {
        if (stage.Kind != StageKind.Compress)
            return "only a compress stage has a [DeviceGather]";
        string? missing = new[] { gather.Key, gather.Value }.FirstOrDefault(name => !device.Phases.Any(p => p.Writes.Contains(name)));
        return missing is null ? null : $"no phase of it writes '{missing}', which its [DeviceGather] names";
    }

    private static void CheckValues(PipelineSpec spec, List<Problem> problems)
    {
        bool isElement = CheckMember(spec.Element, "Element", problems);
        CheckMember(spec.Mask, "Mask", problems);
        if (spec.HeadDim != 0 && (spec.HeadDim is < 8 or > 256 || spec.HeadDim % 8 != 0))
            problems.Add(new("ATTN0020", -1, "HeadDim", [Text(spec.HeadDim)]));
        for (int i = 0; i < spec.Stages.Count; i++)
        {
            StageSpec stage = spec.Stages[i];
            if (isElement && spec.Element != ElementType.Any && stage.Device is { Elements.Count: > 0 } device && !device.Elements.Contains(spec.Element))
                problems.Add(new("ATTN0021", i, "", [stage.Name, string.Join(" and ", device.Elements), spec.Element.ToString()]));
            foreach (ParameterSpec p in stage.Parameters)
            {
                // The comparison is written so that NaN is out of range.
                if (!(p.Value >= p.Min && p.Value <= p.Max) || !p.Fits)
                    problems.Add(new("ATTN0022", i, p.Name, [p.Name, Text(p.Value), Range(p)]));
            }
        }
    }

    // A tensor goes by its name alone, in the arguments of a call and in the emitted code.
    private static void CheckTensors(PipelineSpec spec, List<Problem> problems)
    {
        var owners = new Dictionary<string, StageSpec>();
        for (int i = 0; i < spec.Stages.Count; i++)
        {
            foreach (TensorSpec tensor in spec.Stages[i].Tensors)
            {
                if (owners.TryGetValue(tensor.Member, out StageSpec? owner))
                    problems.Add(new("ATTN0024", i, "", [owner.Name, spec.Stages[i].Name, tensor.Name]));
                else
                    owners.Add(tensor.Member, spec.Stages[i]);
            }
        }
    }

    private static bool CheckMember<TEnum>(TEnum value, string argument, List<Problem> problems)
        where TEnum : struct, Enum
    {
        bool isMember = Enum.IsDefined(typeof(TEnum), value);
        if (!isMember)
            problems.Add(new("ATTN0023", -1, argument, [argument, value.ToString(), typeof(TEnum).Name]));
        return isMember;
    }

    private static StageGraph Assemble(PipelineSpec spec)
    {
        // OrderBy is stable: several of one kind keep their declared order.
        List<StageSpec> ordered = spec.Stages.OrderBy(s => OrderOf(s.Kind)).ToList();
        var roles = new NameSet();
        var fields = new NameSet("_cpu", "_cuda");
        // A plan lists options and constants under their names, so an option takes no constant's.
        var members = new NameSet(s_optionsMembers.Concat(ordered.SelectMany(s => s.Parameters).Where(p => p.IsConstant).Select(p => p.Name)));
        var arguments = new NameSet(Names.Reserved.Concat(ordered.SelectMany(s => s.Tensors).Select(t => t.Name)));
        var nodes = new List<StageNode>();
        foreach (StageSpec stage in ordered)
        {
            List<ParameterSpec> runtime = stage.Parameters.Where(p => !p.IsConstant).ToList();
            var options = new List<OptionNode>();
            foreach (ParameterSpec parameter in runtime)
            {
                bool shared = ordered.SelectMany(s => s.Parameters).Count(p => p.Name == parameter.Name) > 1;
                string member = members.Unique(shared ? stage.Name + parameter.Name : parameter.Name);
                options.Add(new OptionNode(parameter, member, arguments.Unique(Names.Snake(member), "_")));
            }
            nodes.Add(new StageNode(
                stage, roles.Unique(RoleOf(stage.Kind)), fields.Unique("_" + Names.Camel(stage.Rule is null ? stage.Name : stage.TypeName)), options.ToEquatableArray()));
        }
        RuleNodes rules = RulesOf(spec.Rules, ordered, members, arguments, out List<RuleSpanNode> spans);
        return new StageGraph(
            Names.Kebab(spec.Type.Name), spec.Type, spec.Mask, spec.HeadDim, spec.Element, nodes.ToEquatableArray(), rules)
        {
            Spans = spans.ToEquatableArray(),
        };
    }

    // Names that the struct has that calls the rules on the device.
    private static readonly string[] s_ruleVariables =
        ["score", "position", "at", "bounds", "hides", "change", "apply", "sink", "sees", "visit", "for_each_bounded", "distance_term"];

    private static RuleNodes RulesOf(
        RulesSpec rules, List<StageSpec> stages, NameSet members, NameSet arguments, out List<RuleSpanNode> spans)
    {
        foreach (string name in s_ruleVariables)
            arguments.Unique(name, "_");
        var scalars = new List<RuleScalarNode>();
        foreach (RuleScalar scalar in rules.Scalars)
        {
            bool shared = s_optionsMembers.Contains(scalar.Parameter.Name) || stages.SelectMany(s => s.Parameters).Any(p => p.Name == scalar.Parameter.Name);
            string member = members.Unique(shared ? scalar.Rules[0] + scalar.Parameter.Name : scalar.Parameter.Name);
            scalars.Add(new(scalar, new OptionNode(scalar.Parameter, member, Argument(member))));
        }
        var fields = new NameSet(scalars.Select(s => s.Option.Member).Concat(["Apply", "IsIdentity"]));
        TokenRuleSpec? score = stages.Select(s => s.Rule).FirstOrDefault(rule => rule is not null);
        spans = [];
        foreach (RuleBuffer span in rules.Spans.Union(score?.Spans ?? []))
        {
            string member = fields.Unique(char.ToUpperInvariant(span.Name[0]) + span.Name.Substring(1));
            spans.Add(new(span, member, Argument(span.Name), RuleUse.AxesOf(rules, score, span)));
        }
        EquatableArray<RuleSpanNode> own = spans.Take(rules.Spans.Count).ToEquatableArray();
        return new RuleNodes(rules, scalars.ToEquatableArray(), own) { Ranges = RangesOf(rules, stages) };

        string Argument(string name) => arguments.Unique(Names.Device(Names.Snake(name)), "_");
    }

    private static RangeNodes RangesOf(RulesSpec rules, List<StageSpec> stages)
    {
        if (stages.Any(s => s.Kind == StageKind.BlockSelector))
            return new RangeNodes(false, [], "a block list says which tiles are visited");
        MaskRanges? ranges = MaskRanges.Of(rules, p => new RuleVariable(p.Type, p.Name), new NameSet(), out string why);
        return new RangeNodes(ranges is not null, ranges?.Bounded.ToEquatableArray() ?? [], why);
    }

    private static string RoleOf(StageKind kind) => kind switch
    {
        StageKind.TokenScore => "TokenScore",
        StageKind.TokenSelector => "Selector",
        StageKind.Compress => "RowSource",
        StageKind.BlockSelector => "BlockSelector",
        StageKind.AttentionKernel => "Attention",
        _ => "RowDestination",
    };

    private static string Words(FusionPoint point) => point switch
    {
        FusionPoint.RowSource => "row source",
        FusionPoint.RowDestination => "row destination",
        FusionPoint.Score => "scores",
        _ => "block list",
    };

    private static string Range(ParameterSpec p) => (double.IsInfinity(p.Min), double.IsInfinity(p.Max)) switch
    {
        (false, false) => $"in [{Text(p.Min)}, {Text(p.Max)}]{Multiple(p)}",
        (false, true) => $"at least {Text(p.Min)}{Multiple(p)}",
        (true, false) => $"at most {Text(p.Max)}{Multiple(p)}",
        _ => $"a finite {p.Type}{Multiple(p)}",
    };

    private static string Multiple(ParameterSpec p) => p.MultipleOf == 0 ? "" : $", a multiple of {Text(p.MultipleOf)}";

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
