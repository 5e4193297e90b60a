using System.Text;

namespace AttnCompose.Generators.Tests.Fuzzing;

/// <summary>Writes declarations of pipelines and stages from a seed: most nearly right, with odd names, values and places.</summary>
internal sealed class DeclarationWriter(Random random)
{
    private static readonly string[] s_names =
    [
        "P", "p", "Dense", "TokenSparsePrefill2", "_", "__x1", "ÄÖ", "名前", "e\u0301te", "@class", "@event", "record", "var", "nint", "field",
        "Plan", "Options", "Run", "System", "AttnCompose", "Attribute", "PAttribute", "X‿Y", "\\u0041b", "HTTPServer2D",
    ];

    private static readonly string[] s_namespaces =
        ["", "namespace N;", "namespace A.B.C;", "namespace @namespace.@in;", "namespace AttnCompose;", "namespace System.N;", "namespace Ünï;"];

    private static readonly string[] s_containers =
    [
        "partial class Outer", "public static partial class Outer", "partial struct Outer", "readonly partial struct Outer",
        "partial record Outer", "partial record struct Outer", "partial interface IOuter", "class Outer", "partial class Outer<T>",
        "file partial class Outer", "partial class @class",
    ];

    private static readonly string[] s_classes =
    [
        "public sealed partial class", "sealed partial class", "class",
        "static partial class", "abstract partial class", "unsafe partial class", "file partial class", "partial record",
        "partial struct", "partial interface", "partial record struct", "enum",
    ];

    private static readonly string[] s_bodies =
    [
        " { }", "<T>;", "<T> where T : struct;", "(int x);", " : System.IDisposable;", " : System.Attribute;",
        " { int X => 1; }", " { public void Run() { } }", " { private P() { } }", " { static int s_x = 3; }", " { class Nested; }",
        " { public int Device; }",
    ];

    private static readonly string[] s_stages =
    [
        "TestSelect", "TestSelect(Share = 0.25)", "TestSelect(Window = 3)", "TestSelect(KeepFirst = false)", "TestGather", "TestAttend",
        "TestScatter", "CpuOnlySelect", "ClosedAttend", "FlashAttention", "TokenCoverage(Coverage = 0.1)", "TokenCoverage", "GatherTokens",
        "ScatterTokens", "GivenBlocks", "TestBlocks(Sink = 2)", "BlockSparseAttention", "BlockSparseAttention(BlockQuery = 64)", "System.Obsolete", "Own", "Own(Alpha = 1)", "Own(beta = 2, Gamma = true)", "Generic<int>", "Missing",
    ];

    private static readonly string[] s_chains =
    [
        "[TestAttend]", "[FlashAttention]", "[GivenBlocks, BlockSparseAttention]",
        "[TokenCoverage, GatherTokens, TestBlocks, BlockSparseAttention(BlockKey = 64), ScatterTokens]", "[TestSelect, TestGather, TestAttend, TestScatter]",
        "[TokenCoverage]\n[GatherTokens]\n[FlashAttention]\n[ScatterTokens]", "[ScatterTokens, FlashAttention, GatherTokens, TokenCoverage]",
        "[TestSelect, TestSelect(Share = 1), TestGather, FlashAttention, TestScatter]",
        "[Generic<int>]", "[TestSelect, TestGather, Generic<string>, TestScatter]", "[Own(Gamma = true), Own, TestGather, FlashAttention, TestScatter]",
        "[Own, TestGather, TestAttend, TestScatter]", "[Own(Alpha = 1), Own(beta = 0), TokenCoverage, GatherTokens, TestAttend, ScatterTokens]",
    ];

    private static readonly string[] s_values =
    [
        "0", "1", "-1", "7", "64", "0.5", "-0.0", "1e-300", "1e300", "double.NaN", "double.PositiveInfinity", "int.MaxValue", "int.MinValue",
        "2147483648", "99999999999999999999", "0x7fffffff", "1u", "1L", "1.5f", "'c'", "true", "false", "null", "default", "\"text\"",
        "typeof(int)", "nameof(P)", "new[] { 1 }", "(ElementType)77", "ElementType.Float16", "AttentionMask.Causal", "AttentionMask.Full",
        "(AttentionMask)(-1)", "1 + 2", "X.Y",
    ];

    private static readonly string[] s_properties =
        ["Alpha", "beta", "Gamma", "Options", "Clone", "From", "Default", "Query", "TokenIndex", "Shared", "Ünï", "@default", "Budget", "HeadDim"];

    private static readonly string[] s_types = ["long", "string", "int?", "T", "Missing", "object"];

    private static readonly string[] s_buffers = ["rows", "scores", "budget", "alpha", "key", "problem", "", "a b", "\\\"q\\\"", "\\u2028", "\\n", "\\0"];

    // How often something odd is written where something usual would do. Half of the declarations are all usual but for names.
    private readonly double _oddity = random.Next(2) == 0 ? 0 : random.NextDouble() * 0.4;

    public string Pipeline()
    {
        var text = new StringBuilder();
        text.AppendLine(Pick(s_namespaces));
        string container = Or("", s_containers);
        text.AppendLine(container.Length > 0 ? container + "\n{" : "");
        foreach (string name in new[] { Pick(s_names), Pick(s_names) }.Take(random.Next(6) == 0 ? 2 : 1))
        {
            text.AppendLine($"[AttentionPipeline{PipelineArguments()}]");
            text.AppendLine(Or(Pick(s_chains), [$"[{string.Join(", ", Enumerable.Range(0, random.Next(1, 6)).Select(_ => Pick(s_stages)))}]"]));
            text.AppendLine($"{Or("partial class", s_classes)} {name}{Or(";", s_bodies)}");
        }
        text.AppendLine(container.Length > 0 ? "}" : "");
        text.AppendLine(Stage("OwnAttribute"));
        return text.ToString();
    }

    public string Stage(string name)
    {
        var text = new StringBuilder();
        string[] parameters = [.. Enumerable.Range(0, random.Next(4)).Select(_ => Pick(s_properties)).Prepend("Gamma").Prepend("beta").Prepend("Alpha").Distinct()];
        string[] buffers = [.. Enumerable.Range(0, random.Next(3)).Select(_ => Pick(s_buffers)).Distinct()];
        text.AppendLine($"[DeviceStage({Or("\"own.cuh\"", ["\"there.cuh\"", "\"\"", "null", "1"])}, Type = \"Own\")]");
        foreach (string buffer in buffers)
            text.AppendLine($"[DeviceBuffer(\"{buffer}\", \"float\", Shape = \"{Pick(s_buffers)}\")]");
        for (int i = random.Next(4); i >= 0; i--)
        {
            text.AppendLine($"[DevicePhase(\"{Or("a", ["b", "ä", "", "for"])}\", Scope = {Or("PhaseScope.QueryHead", ["PhaseScope.KeyTile", "(PhaseScope)9", "null"])},");
            text.AppendLine($"    Reads = [{List([.. buffers, "query"])}], Writes = [{List([.. buffers, "token_index"])}], Parameters = [{List(parameters)}],");
            text.AppendLine($"    Summary = \"{Pick(s_buffers)}\")]");
        }
        if (random.Next(3) == 0)
            text.AppendLine($"[DeviceHook({Or("FusionPoint.Score", ["FusionPoint.RowSource", "(FusionPoint)99", "null"])}, Reads = [{List(buffers)}])]");
        text.AppendLine(
            $"{Or("", ["abstract ", "file ", "static ", "partial ", "sealed "])}class {name} : "
            + Or("TestSelectAttribute", ["TestAttendAttribute", "TokenSelectorAttribute", "StageAttribute", "Missing"]));
        text.AppendLine("{");
        foreach (string parameter in parameters)
        {
            string type = parameter == "Gamma" ? "bool" : Or(Pick(["double", "float", "int", "bool"]), s_types);
            text.AppendLine(
                $"    [{Pick(["RuntimeParameter", "ConstantParameter"])}({Or(Pick(["0", "1"]), s_values)}{Or("", [", Min = 0", ", Max = 1", ", Min = double.NaN", ", Min = 2, Max = 1"])})] "
                + $"public {Or("", ["virtual ", "static ", "required ", "new "])}{type} {parameter} {Or("{ get; set; }", ["{ get; init; }", "{ get; }", "=> default;"])}");
        }
        text.AppendLine("}");
        text.AppendLine("[DeviceStage(\"own.cuh\", Type = \"Generic\"), DevicePhase(\"g\", Scope = PhaseScope.QueryHead, Parameters = [\"Size\"])]");
        text.AppendLine("class GenericAttribute<T> : TestAttendAttribute { [RuntimeParameter(1)] public int Size { get; set; } }");
        return text.ToString();
    }

    private string PipelineArguments() => random.Next(3) switch
    {
        0 => "",
        1 => $"(Mask = {Or("AttentionMask.Causal", s_values)})",
        _ => $"(HeadDim = {Or(Pick(["64", "128", "256"]), s_values)}, Element = {Or("ElementType.Float16", s_values)})",
    };

    private string List(string[] of) => string.Join(", ", of.Where(_ => random.Next(3) > 0).Select(name => $"\"{name.TrimStart('@')}\""));

    private string Or(string usual, string[] odd) => random.NextDouble() < _oddity ? Pick(odd) : usual;

    private string Pick(string[] of) => of[random.Next(of.Length)];
}
