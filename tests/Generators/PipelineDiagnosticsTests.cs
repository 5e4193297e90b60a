using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Tests.Rules;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests;

/// <summary>What the generator says of declarations: the right rule, at the attribute or argument at fault, and nothing else.</summary>
public sealed class PipelineDiagnosticsTests
{
    private const string Tsa = "[TestSelect, TestGather, TestAttend, TestScatter]";

    // Rule, declaration with the place marked, and what mends it.
    public static readonly TheoryData<string, string, string> Faults = new()
    {
        { "ATTN0001", "[AttentionPipeline, TestAttend] class «P»;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial record «P»;", "[AttentionPipeline, TestAttend] sealed partial class P;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] static partial class «P»;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] abstract partial class «P»;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] file partial class «P»;", "[AttentionPipeline, TestAttend] internal partial class P;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial class «P»<T>;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial class «P»(int x) { int X => x; }", "[AttentionPipeline, TestAttend] partial class P { int X => 1; }" },
        { "ATTN0002", "class B; [AttentionPipeline, TestAttend] partial class «P» : B;", "interface IB; [AttentionPipeline, TestAttend] partial class P : IB;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial class «P» { void Plan() { } }", "[AttentionPipeline, TestAttend] partial class P { void Planned() { } }" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial class «P» { int Tensors => 1; }", "[AttentionPipeline, TestAttend] partial class P { int Tensor => 1; }" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial class «Options»;", "[AttentionPipeline, TestAttend] partial class Option;" },
        { "ATTN0002", "[AttentionPipeline, TestAttend] partial class «var»;", "[AttentionPipeline, TestAttend] partial class @dynamic;" },
        { "ATTN0002", "class O { [AttentionPipeline, TestAttend] partial class «P»; }", "partial class O { [AttentionPipeline, TestAttend] partial class P; }" },
        { "ATTN0002", "partial class O<T> { [AttentionPipeline, TestAttend] partial class «P»; }", "partial struct O { [AttentionPipeline, TestAttend] partial class P; }" },
        { "ATTN0010", "[AttentionPipeline] partial class «P»;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0011", "[AttentionPipeline, TestAttend, «ClosedAttend»] partial class P;", "[AttentionPipeline, ClosedAttend] partial class P;" },
        { "ATTN0012", "[AttentionPipeline, «TestGather», TestAttend] partial class P;", $"[AttentionPipeline] {Tsa} partial class P;" },
        { "ATTN0013", "[AttentionPipeline, «TestSelect», TestAttend, TestScatter] partial class P;", $"[AttentionPipeline] {Tsa} partial class P;" },
        { "ATTN0014", "[AttentionPipeline, «TestSelect», TestGather, TestAttend] partial class P;", $"[AttentionPipeline] {Tsa} partial class P;" },
        { "ATTN0015", "[AttentionPipeline, TestAttend, «TestScatter»] partial class P;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0016", "[AttentionPipeline, TestSelect, «TestGather», HalfOpenAttend, TestScatter] partial class P;" + HalfOpen, $"[AttentionPipeline] {Tsa} partial class P;" },
        { "ATTN0017", "[AttentionPipeline, «CpuOnlySelect», TestGather, TestAttend, TestScatter] partial class P;", $"[AttentionPipeline] {Tsa} partial class P;" },
        { "ATTN0017", "[AttentionPipeline, «OddAttend»] partial class P;" + Odd, "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0018", "[AttentionPipeline, «LocalAttend»] partial class P; file class LocalAttendAttribute : TestAttendAttribute;", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0018", "[AttentionPipeline, «ArgAttend(1)»] partial class P; class ArgAttendAttribute(int x) : TestAttendAttribute { public int X => x; }", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0018", "[AttentionPipeline, LostAttend(«X = 1»)] partial class P; class LostAttendAttribute : TestAttendAttribute { public int X { get; set; } }", "[AttentionPipeline, TestAttend] partial class P;" },
        { "ATTN0019", "[AttentionPipeline, TestSelect, «TestSelect», TestGather, TestAttend, TestScatter] partial class P;", "[AttentionPipeline, TestSelect, TestPrune, TestGather, TestAttend, TestScatter] partial class P;" },
        { "ATTN0050", "[AttentionPipeline, TokenCoverage, «FixedCount», GatherTokens, FlashAttention, ScatterTokens] partial class P;", "[AttentionPipeline, RecentQueries, FixedCount, GatherTokens, FlashAttention, ScatterTokens] partial class P;" },
        { "ATTN0020", "[AttentionPipeline(«HeadDim = 12»), TestAttend] partial class P;", "[AttentionPipeline(HeadDim = 16), TestAttend] partial class P;" },
        { "ATTN0020", "[AttentionPipeline(«HeadDim = 264»), TestAttend] partial class P;", "[AttentionPipeline(HeadDim = 256), TestAttend] partial class P;" },
        { "ATTN0020", "[AttentionPipeline(Mask = AttentionMask.Causal, «HeadDim = -8»), TestAttend] partial class P;", "[AttentionPipeline(HeadDim = 8), TestAttend] partial class P;" },
        { "ATTN0021", "[AttentionPipeline(Element = ElementType.Float32), «TestSelect», TestGather, TestAttend, TestScatter] partial class P;", $"[AttentionPipeline(Element = ElementType.BFloat16)] {Tsa} partial class P;" },
        { "ATTN0022", "[AttentionPipeline, TestSelect(Window = 8, «Share = 1.5»), TestGather, TestAttend, TestScatter] partial class P;", "[AttentionPipeline, TestSelect(Share = 1), TestGather, TestAttend, TestScatter] partial class P;" },
        { "ATTN0022", "[AttentionPipeline, TestSelect(«Share = double.NaN»), TestGather, TestAttend, TestScatter] partial class P;", "[AttentionPipeline, TestSelect(Share = 0), TestGather, TestAttend, TestScatter] partial class P;" },
        { "ATTN0022", "[AttentionPipeline, TestSelect(«Window = 0»), TestGather, TestAttend, TestScatter] partial class P;", "[AttentionPipeline, TestSelect(Window = 512), TestGather, TestAttend, TestScatter] partial class P;" },
        { "ATTN0023", "[AttentionPipeline(«Element = (ElementType)9»), TestAttend] partial class P;", "[AttentionPipeline(Element = (ElementType)3), TestAttend] partial class P;" },
        { "ATTN0023", "[AttentionPipeline(«Mask = (AttentionMask)7»), TestAttend] partial class P;", "[AttentionPipeline(Mask = (AttentionMask)1), TestAttend] partial class P;" },
        { "ATTN0024", $"[AttentionPipeline, Weighted, «WeightedAgain», {Rest}" + Weighted("weights"), $"[AttentionPipeline, Weighted, WeightedAgain, {Rest}" + Weighted("others") },
        { "ATTN0040", "[AttentionPipeline, «GivenBlocks», TestAttend] partial class P;", "[AttentionPipeline, GivenBlocks, BlockSparseAttention] partial class P;" },
        { "ATTN0041", "[AttentionPipeline, «BlockSparseAttention»] partial class P;", "[AttentionPipeline, GivenBlocks, BlockSparseAttention] partial class P;" },
        { "ATTN0050", $"[AttentionPipeline, «TopP», {Rest}", $"[AttentionPipeline, RecentQueries, TopP, {Rest}" },
        { "ATTN0050", $"[AttentionPipeline, TokenCoverage, «TopP», {Rest}", $"[AttentionPipeline, TokenCoverage, RecentQueries, TopP, {Rest}" },
        { "ATTN0051", $"[AttentionPipeline, «RecentQueries», TestSelect, {Rest}", $"[AttentionPipeline, TestSelect, {Rest}" },
        { "ATTN0051", $"[AttentionPipeline, «RandomTokens», RecentQueries, TopP, {Rest}", $"[AttentionPipeline, RandomTokens, TopP, {Rest}" },
        { "ATTN0052", $"[AttentionPipeline, RecentQueries, TopP, «FixedCount», {Rest}", $"[AttentionPipeline, RecentQueries, TopP, RecentQueries, FixedCount, {Rest}" },
        { "ATTN0017", $"[AttentionPipeline, «SilentScore», TopP, {Rest}" + SilentScore, $"[AttentionPipeline, RandomTokens, TopP, {Rest}" },
        { "ATTN0019", $"[AttentionPipeline, RecentQueries, TopP, «TokenCoverage», {Rest}", $"[AttentionPipeline, TokenCoverage, RecentQueries, TopP, {Rest}" },
        { "ATTN0022", $"[AttentionPipeline, RecentQueries(«Heads = (HeadScope)7»), TopP, {Rest}", $"[AttentionPipeline, RecentQueries(Heads = HeadScope.Layer), TopP, {Rest}" },
        { "ATTN0011", "[AttentionPipeline, GivenBlocks, «ComputedBlocks», BlockSparseAttention] partial class P;" + Computed("block_list"), "[AttentionPipeline, ComputedBlocks, BlockSparseAttention] partial class P;" + Computed("block_list") },
        { "ATTN0017", "[AttentionPipeline, «ComputedBlocks», BlockSparseAttention] partial class P;" + Computed("output"), "[AttentionPipeline, ComputedBlocks, BlockSparseAttention] partial class P;" + Computed("block_list") },
        { "ATTN0022", "[AttentionPipeline, GivenBlocks, BlockSparseAttention(«BlockKey = 96»)] partial class P;", "[AttentionPipeline, GivenBlocks, BlockSparseAttention(BlockKey = 64)] partial class P;" },
    };

    private const string Rest = "TestGather, TestAttend, TestScatter] partial class P;";

    private static string Weighted(string name) =>
        $$"""

        [TensorArgument("weights", "float", Shape = ["HeadDim"])]
        class WeightedAttribute : TestSelectAttribute;

        [TensorArgument("{{name}}", "float", Shape = ["HeadDim"])]
        class WeightedAgainAttribute : TestPruneAttribute;
        """;

    private const string SilentScore =
        """

        [DeviceStage("x.cuh", Type = "X")]
        [DevicePhase("score", Scope = PhaseScope.KeyTile)]
        class SilentScoreAttribute : TokenScoreAttribute
        {
            public override void Score<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore rules, in TokenScores scores) { }
        }
        """;

    private static string Computed(string writes) =>
        $$"""

        [DeviceStage("x.cuh", Type = "X")]
        [DevicePhase("choose", Scope = PhaseScope.QueryHead, Writes = ["{{writes}}"])]
        class ComputedBlocksAttribute : BlockSelectorAttribute
        {
            public override void Select<T, TRows, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) { }
        }
        """;

    private const string HalfOpen =
        """

        [DeviceStage("x.cuh", Type = "X", Offers = FusionPoint.RowDestination)]
        [DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile)]
        class HalfOpenAttendAttribute : TestAttendAttribute;
        """;

    private const string Odd =
        """

        [DeviceStage("x.cuh", Type = "X")]
        [DevicePhase("attend", Scope = (PhaseScope)9)]
        class OddAttendAttribute : TestAttendAttribute;
        """;

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_fault_is_reported_where_it_is(string id, string faulty, string mended)
    {
        (string source, string marked) = Diagnosed.Split(faulty);
        Compilation compilation = Compiler.Compile(source);
        Diagnosed.Matches(id, marked, Compiler.Generate(compilation).Diagnostics, compilation);
        Assert.Empty(Compiler.Generate(Compiler.Compile(mended)).Diagnostics);
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_faulty_declaration_generates_nothing(string id, string faulty, string mended)
    {
        _ = id;
        Assert.Empty(Compiler.Generate(Compiler.Compile(Diagnosed.Split(faulty).Source)).GeneratedTrees);
        Assert.Equal(4, Compiler.Generate(Compiler.Compile(mended)).GeneratedTrees.Length);
    }

    [Theory]
    [InlineData("Mask = AttentionMask.Causal", true)]
    [InlineData("Mask = AttentionMask.Full", false)]
    public void Why_keys_are_not_compressed_alone_is_said_under_the_causal_mask(string mask, bool said)
    {
        string source = $"[AttentionPipeline({mask}), TestSelect, TestGather, TestAttend] partial class P;";
        string message = Assert.Single(Compiler.Generate(Compiler.Compile(source)).Diagnostics).GetMessage();
        Assert.Equal(said, message.Contains("under the causal mask", StringComparison.Ordinal));
    }

    [Fact]
    public void Every_fault_of_a_declaration_is_reported_at_once()
    {
        const string Source = "[AttentionPipeline(HeadDim = 3), TestSelect(Share = 2, Window = 0), TestAttend] partial class P;";
        IEnumerable<string> ids = Compiler.Generate(Compiler.Compile(Source)).Diagnostics.Select(d => d.Id).Order();
        Assert.Equal(["ATTN0013", "ATTN0014", "ATTN0020", "ATTN0022", "ATTN0022"], ids);
    }

    [Theory]
    [InlineData("[AttentionPipeline, TestAttend] partial class P; [AttentionPipeline] partial class P;", "")]
    [InlineData("[AttentionPipeline, TestAttend] partial class P;", "[AttentionPipeline] partial class P;")]
    public void A_class_that_is_declared_twice_is_one_pipeline(string first, string second)
    {
        GeneratorDriverRunResult result = Compiler.Generate(Compiler.Compile(first, second));
        Assert.Empty(result.Diagnostics);
        Assert.Null(result.Results.Single().Exception);
        Assert.Equal(4, result.GeneratedTrees.Length);
    }

    [Theory]
    [InlineData("namespace N { [AttentionPipeline, TestAttend] partial class P; [AttentionPipeline, TestAttend] partial class p; }")]
    [InlineData("namespace A { [AttentionPipeline, TestAttend] partial class P; } partial class A { [AttentionPipeline, TestAttend] partial class P; }")]
    [InlineData("[AttentionPipeline, TestAttend] partial class e\u0301; [AttentionPipeline, TestAttend] partial class @event;")]
    public void Names_that_files_cannot_tell_apart_are_told_apart(string source)
    {
        GeneratorDriverRunResult result = Compiler.Generate(Compiler.Compile(source));
        Assert.Null(result.Results.Single().Exception);
        Assert.Equal(8, result.GeneratedTrees.Length);
    }

    [Fact]
    public void A_fault_of_one_pipeline_leaves_the_others_alone()
    {
        GeneratorDriverRunResult result = Compiler.Generate(Compiler.Compile(
            "[AttentionPipeline] partial class Bad;", "[AttentionPipeline, TestAttend] partial class Good;"));
        Assert.Equal("ATTN0010", Assert.Single(result.Diagnostics).Id);
        Assert.All(result.GeneratedTrees, tree => Assert.Contains("Good.", tree.FilePath, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_rule_has_a_test_that_breaks_it()
    {
        IEnumerable<string> broken = Faults.Select(row => (string)row[0])
            .Concat(StageDiagnosticsTests.Faults.Select(row => (string)row[0]))
            .Concat(RuleDiagnosticsTests.Faults.Select(row => (string)row[0]))
            .Concat(["ATTN0034", "ATTN0035"]); // RuleDiagnosticsTests, by tests of their own
        Assert.Equal(DiagnosticDescriptors.All.Select(rule => rule.Id), broken.Distinct().Order(StringComparer.Ordinal));
    }
}
