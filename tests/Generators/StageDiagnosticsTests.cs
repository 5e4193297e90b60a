using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests;

/// <summary>What the analyzer says of a stage in its own project, and of stages on a class that is no pipeline.</summary>
public sealed class StageDiagnosticsTests
{
    // Rule, a declaration, most often the members of a stage, with the place marked, and what mends it.
    public static readonly TheoryData<string, string, string> Faults = new()
    {
        { "ATTN0003", "[«TestAttend», TestScatter] partial class P;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0101", Stage("public int «Width» { get; set; }"), Stage("[ConstantParameter(1)] public int Width { get; set; }") },
        { "ATTN0101", Stage("public string? «Note» { get; set; }"), Stage("public string? Note { get; private set; }") },
        { "ATTN0101", Stage("public int «Width» { get; init; }"), Stage("internal int Width { get; set; } public static int Other { get; set; }") },
        { "ATTN0102", Stage("", header: "«\"none.cuh\"»"), Stage("", header: "\"there.cuh\"") },
        { "ATTN0102", Stage("", header: "«\"\"»"), Stage("", header: "\"other.cuh\"") },
        { "ATTN0103", Stage("[RuntimeParameter(1)] public long «Width» { get; set; }"), Stage("[RuntimeParameter(1)] public int Width { get; set; }") },
        { "ATTN0103", Stage("[RuntimeParameter(1)] public int? «Width» { get; set; }"), Stage("[RuntimeParameter(1)] public float Width { get; set; }") },
        { "ATTN0103", Stage("[RuntimeParameter(1), «ConstantParameter(1)»] public int Width { get; set; }"), Stage("[ConstantParameter(1)] public int Width { get; set; }") },
        { "ATTN0103", Stage("[RuntimeParameter(1)] public int «Width» { get; }"), Stage("public int Width { get; }") },
        { "ATTN0103", Stage("[RuntimeParameter(1)] public int «Width» { get; private set; }"), Stage("[RuntimeParameter(1)] public int Width { get; init; }") },
        { "ATTN0103", Stage("[RuntimeParameter(1)] public static int «Width» { get; set; }"), Stage("public static int Width { get; set; }") },
        { "ATTN0103", Stage("[«RuntimeParameter(double.NaN)»] public double Width { get; set; }"), Stage("[RuntimeParameter(0)] public double Width { get; set; }") },
        { "ATTN0103", Stage("[«RuntimeParameter(2, Max = 1)»] public double Width { get; set; }"), Stage("[RuntimeParameter(1, Max = 1)] public double Width { get; set; }") },
        { "ATTN0103", Stage("[«RuntimeParameter(1, Min = 2, Max = 1)»] public double Width { get; set; }"), Stage("[RuntimeParameter(1, Min = 1, Max = 1)] public double Width { get; set; }") },
        { "ATTN0103", Stage("[«ConstantParameter(0.5)»] public int Width { get; set; }"), Stage("[ConstantParameter(0.5)] public float Width { get; set; }") },
        { "ATTN0103", Stage("[«ConstantParameter(3e9)»] public int Width { get; set; }"), Stage("[ConstantParameter(2e9)] public int Width { get; set; }") },
        { "ATTN0103", Stage("[«ConstantParameter(1e300)»] public float Width { get; set; }"), Stage("[ConstantParameter(1e300)] public double Width { get; set; }") },
        { "ATTN0103", Stage("[«RuntimeParameter(0)»] public AttentionMask Kind { get; set; }"), Stage("[ConstantParameter(0)] public AttentionMask Kind { get; set; }") },
        { "ATTN0103", Stage("[«ConstantParameter(2)»] public bool Width { get; set; }"), Stage("[ConstantParameter(1)] public bool Width { get; set; }") },
        { "ATTN0103", Stage("[«ConstantParameter(96, MultipleOf = 64)»] public int Width { get; set; }"), Stage("[ConstantParameter(128, MultipleOf = 64)] public int Width { get; set; }") },
        { "ATTN0104", Stage("", phase: "Reads = [\"query\", «\"row\"»]"), Stage("", phase: "Reads = [\"query\", \"key\", \"value\", \"rows\", \"token_index\"]") },
        { "ATTN0104", Stage("", phase: "Writes = [«\"row\"»]"), Stage("", phase: "Writes = [\"rows\", \"output\", \"token_index\"]") },
        { "ATTN0104", Stage("", phase: "Reads = new[] { «\"row\"» }"), Stage("", phase: "Reads = new[] { \"rows\" }") },
        { "ATTN0104", Stage("const string Row = \"row\";", phase: "«Writes = [Row]»"), Stage("const string Row = \"rows\";", phase: "Writes = [Row]") },
        { "ATTN0104", Stage("public int Width => 1;", phase: "Parameters = [«\"Width\"»]"), Stage("[RuntimeParameter(1)] public int Width { get; set; }", phase: "Parameters = [\"Width\"]") },
        { "ATTN0104", Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"HeadDim\"])", "Writes = [«\"gate\"»]"), Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"HeadDim\"])", "Reads = [\"gate\"]") },
        { "ATTN0105", Tensor("«TensorArgument(\"Gate\", \"float\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"gate_\", \"float\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"gate2\", \"float\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"float\", \"float\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"floats\", \"float\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"key\", \"float\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"key_gate\", \"float\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"rows\", \"float\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"columns\", \"float\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"to_string\", \"float\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"string\", \"float\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"gate\", \"half\", Shape = [\"HeadDim\"])»"), Tensor("TensorArgument(\"gate\", \"int\", Shape = [\"HeadDim\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"gate\", \"float\", Shape = [])»"), Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"3\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"gate\", \"float\", Shape = [\"Heads\"])»"), Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"QueryHeads\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"gate\", \"float\", Shape = [\"0\"])»"), Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"16\"])") },
        { "ATTN0105", Tensor("«TensorArgument(\"gate\", \"float\", Shape = [\"Share\"])»"), Tensor("TensorArgument(\"gate\", \"float\", Shape = [\"Window\"])") },
        { "ATTN0104", Stage("", hook: "Reads = [«\"row\"»]"), Stage("", hook: "Reads = [\"rows\"]") },
        { "ATTN0104", Stage("", hook: "Parameters = [«\"width\"»]"), Stage("[ConstantParameter(1)] public int width { get; set; }", hook: "Parameters = [\"width\"]") },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_fault_is_reported_where_it_is(string id, string faulty, string mended)
    {
        (string source, string marked) = Diagnosed.Split(faulty);
        Compilation compilation = Compiler.Compile(source);
        Diagnosed.Matches(id, marked, Analyze(compilation), compilation);
        Assert.Empty(Analyze(Compiler.Compile(mended)));
    }

    [Fact]
    public void The_test_stages_are_sound() =>
        Assert.Empty(Compiler.Analyze(Compiler.TestStages, "test_select.cuh", "test_hooks.cuh", "test_attend.cuh", "test_blocks.cuh"));

    [Fact]
    public void A_class_that_is_no_stage_is_left_alone() =>
        Assert.Empty(Analyze(Compiler.Compile("""class Plain : System.Attribute { public int Width { get; set; } [RuntimeParameter(1)] public long Long { get; set; } }""")));

    [Fact]
    public void A_parameter_of_a_base_stage_may_be_named()
    {
        const string Source = """
            [DeviceStage("there.cuh", Type = "S")]
            [DevicePhase("p", Scope = PhaseScope.QueryHead, Parameters = ["Share", "Window"])]
            class SAttribute : TestSelectAttribute;
            """;
        Assert.Empty(Analyze(Compiler.Compile(Source)));
    }

    private static IEnumerable<Diagnostic> Analyze(Compilation compilation)
    {
        Assert.DoesNotContain(compilation.GetDiagnostics(), d => d.Severity == DiagnosticSeverity.Error);
        return Compiler.Analyze(compilation, "/a/there.cuh", "/b/other.cuh");
    }

    private static string Tensor(string attribute, string phase = "") => $$"""
        [DeviceStage("there.cuh", Type = "S")]
        [{{attribute}}]
        [DeviceBuffer("rows", "float")]
        [DevicePhase("p", Scope = PhaseScope.QueryHead{{(phase.Length > 0 ? ", " + phase : "")}})]
        class SAttribute : TestSelectAttribute;
        """;

    private static string Stage(string members, string header = "\"there.cuh\"", string phase = "", string hook = "") => $$"""
        [DeviceStage({{header}}, Type = "S")]
        [DeviceBuffer("rows", "float")]
        [DevicePhase("p", Scope = PhaseScope.QueryHead{{(phase.Length > 0 ? ", " + phase : "")}})]
        [DeviceHook(FusionPoint.Score{{(hook.Length > 0 ? ", " + hook : "")}})]
        class SAttribute : TestAttendAttribute
        {
            {{members}}
        }
        """;
}
