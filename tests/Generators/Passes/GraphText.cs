using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Tests.Passes;

/// <summary>
/// A stage graph as a few lines of text, and a plan as text: what the tests of lowering are written in.
/// <code>
/// selector Pick
///   option Share double 0.5 0..1
///   buffer scores float
///   tensor gates float QueryHeads HeadDim 16
///   phase score KeyTile: query key gates -> scores (Share)
/// compress Gather
///   hook RowSource: token_index
///   gather Gathered key_copy value_copy: heads token_index
/// kernel Attend RowSource Score RowDestination
///   phase attend QueryHeadQueryTile: query key value -> output
/// decompress Scatter
///   hook RowDestination: token_index
/// </code>
/// </summary>
internal static class GraphText
{
    /// <summary>The stages after a selector, for graphs whose point is the selector.</summary>
    public const string Rest = """

        compress Gather
          hook RowSource: token_index
        kernel Attend RowSource Score RowDestination
          phase attend QueryHeadQueryTile: query key value -> output
        decompress Scatter
          hook RowDestination: token_index
        """;

    /// <summary>Parses a graph that is sound.</summary>
    public static StageGraph Parse(string text)
    {
        (StageGraph? graph, EquatableArray<Problem> problems) = StageGraphBuilder.Build(ParseSpec(text));
        Assert.Empty(problems);
        return graph!;
    }

    /// <summary>A plan in which no pass has run.</summary>
    public static FusionPlan Plan(string text) => new(Parse(text), Kernels: [], Buffers: [], Hooks: []);

    public static PipelineSpec ParseSpec(string text)
    {
        var stages = new List<StageSpec>();
        foreach (string line in text.Split('\n').Where(line => line.Trim().Length > 0))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (line[0] != ' ')
            {
                stages.Add(Stage(words));
                continue;
            }
            StageSpec stage = stages[^1];
            DeviceSpec device = stage.Device!;
            stages[^1] = words[0] switch
            {
                "option" or "constant" => stage with { Parameters = [.. stage.Parameters, Parameter(words)] },
                "buffer" => stage with { Device = device with { Buffers = [.. device.Buffers, new BufferSpec(words[1], words[2], "[...]")] } },
                "phase" => stage with { Device = device with { Phases = [.. device.Phases, Phase(line, words)] } },
                "tensor" => stage with { Tensors = [.. stage.Tensors, Tensor(words)] },
                "hook" => stage with { Device = device with { Hook = Hook(line, words) } },
                "gather" => stage with { Device = device with { Gather = Gather(line, words) } },
                _ => throw new FormatException(line),
            };
        }
        return new PipelineSpec(
            new TypeSpec("Tests", "DemoPipeline", "DemoPipeline", [], []), AttentionMask.Causal, 0, ElementType.Any, stages.ToEquatableArray(),
            RulesSpec.None);
    }

    /// <summary>One line a kernel: its entry where it has one, its scope and phases, and why it is separate.</summary>
    public static string Kernels(FusionPlan plan) => Lines(plan.Kernels.Select(k =>
        $"{(k.Entry.Length > 0 ? k.Entry + " = " : "")}{k.Scope}({string.Join(", ", k.Steps.Select(s => Words(s.Phase, Touches(s))))})"
        + (k.SplitReason.Length > 0 ? $" because {k.SplitReason}" : "")));

    /// <summary>One line a kernel: its arguments; written ones with an exclamation mark.</summary>
    public static string Arguments(FusionPlan plan) =>
        Lines(plan.Kernels.Select(k => $"{k.Entry}: {string.Join(", ", k.Arguments.Select(Argument))}"));

    /// <summary>One line a buffer.</summary>
    public static string Buffers(FusionPlan plan) => Lines(plan.Buffers.Select(b =>
        $"{b.Name} = {plan.Graph.Nodes[b.Stage].Field}.{b.Local}: {b.ElementType}"
        + (b.Writer.Length + b.LastReader.Length > 0 ? $", {b.Writer} -> {b.LastReader}" : "")));

    /// <summary>One line a hook.</summary>
    public static string Hooks(FusionPlan plan) => Lines(plan.Hooks.Select(h =>
        $"{h.Point} = {(h.Stage < 0 ? "default" : plan.Graph.Nodes[h.Stage].Stage.Name)}({string.Join(", ", h.Arguments.Select(Argument))}) as {h.Alias}"));

    private static string Touches(StepNode step) =>
        (step.Reads.Count > 0 ? $"<{string.Join(",", step.Reads)}" : "") + (step.Writes.Count > 0 ? $">{string.Join(",", step.Writes)}" : "");

    private static string Argument(ArgumentNode a) =>
        $"{a.DeviceType} {a.Name}{(a.Member != a.Name ? $" as {a.Member}" : "")}{(a.IsWritten ? "!" : "")}";

    private static string Words(string first, string second) => second.Length > 0 ? $"{first} {second}" : first;

    private static string Lines(IEnumerable<string> lines) => string.Join("\n", lines);

    private static StageSpec Stage(string[] words)
    {
        StageKind kind = words[0] switch
        {
            "selector" => StageKind.TokenSelector,
            "compress" => StageKind.Compress,
            "blocks" => StageKind.BlockSelector,
            "kernel" => StageKind.AttentionKernel,
            "decompress" => StageKind.Decompress,
            _ => throw new FormatException(words[0]),
        };
        FusionPoint offers = words[2..].Aggregate(FusionPoint.None, (all, word) => all | Enum.Parse<FusionPoint>(word));
        return new StageSpec(
            kind, words[1], $"global::Tests.{words[1]}Attribute", new DeviceSpec("Tests", "tests.cuh", words[1], offers, [], [], null, []), []);
    }

    private static ParameterSpec Parameter(string[] words)
    {
        double[] range = words.Length > 4 ? [.. words[4].Split("..").Select(double.Parse)] : [double.NegativeInfinity, double.PositiveInfinity];
        return new ParameterSpec(words[1], words[2], words[0] == "constant", double.Parse(words[3]), range[0], range[1], $"P:Tests.{words[1]}");
    }

    private static TensorSpec Tensor(string[] words) => new(
        words[1], words[2],
        words[3..].Select(word => new ExtentSpec(word, int.TryParse(word, out int count) ? count : 0)).ToEquatableArray(), $"what {words[1]} is");

    private static PhaseSpec Phase(string line, string[] words)
    {
        (string[] reads, string[] writes, string[] parameters) = Flow(line);
        return new PhaseSpec(
            words[1], Enum.Parse<PhaseScope>(words[2].TrimEnd(':')), new(reads), new(writes), new(parameters), AppliesRules: false,
            $"does {words[1]}");
    }

    private static HookSpec Hook(string line, string[] words)
    {
        (string[] reads, _, string[] parameters) = Flow(line);
        return new HookSpec(Enum.Parse<FusionPoint>(words[1].TrimEnd(':')), new(reads), new(parameters), $"hooks {words[1].TrimEnd(':')}");
    }

    private static GatherSpec Gather(string line, string[] words) =>
        new(words[1], words[2], words[3].TrimEnd(':'), new(Flow(line).Reads), "hooks what was gathered");

    /// <summary>What stands after the colon: <c>reads -> writes (parameters)</c>.</summary>
    private static (string[] Reads, string[] Writes, string[] Parameters) Flow(string line)
    {
        string flow = line.Contains(':', StringComparison.Ordinal) ? line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..] : "";
        string[] halves = flow.TrimEnd(')').Split('(');
        string[] sides = halves[0].Split("->");
        return (List(sides[0]), List(sides.Length > 1 ? sides[1] : ""), List(halves.Length > 1 ? halves[1] : ""));

        static string[] List(string text) => text.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries);
    }
}
