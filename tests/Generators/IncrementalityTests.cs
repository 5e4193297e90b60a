using System.Runtime.CompilerServices;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using static Microsoft.CodeAnalysis.IncrementalStepRunReason;

namespace AttnCompose.Generators.Tests;

/// <summary>An edit runs the steps that it concerns and no others.</summary>
public sealed class IncrementalityTests
{
    private const string Declaration = """
        [AttentionPipeline(Mask = AttentionMask.Causal)]
        [TestSelect(Share = 0.25)]
        [TestGather]
        [TestAttend]
        [TestScatter]
        public sealed partial class Sparse;
        """;

    private const string Ruled = """
        [AttentionPipeline]
        [TestAttend]
        public sealed partial class Ruled
        {
            [ScoreModifier]
            static float Alibi(float score, in ScorePosition at, float slope = 0.5f) => score - Fall(at.Query - at.Key);

            static int Fall(int x) => x * x;
        }
        """;

    private const string Faulty = """
        [AttentionPipeline(HeadDim = 12)]
        [TestAttend]
        public sealed partial class Dense;
        """;

    // Of Parse, Spec and Plan.
    private static readonly IncrementalStepRunReason[] s_cached = [Cached, Cached, Cached];

    [Theory]
    [InlineData("")]
    [InlineData("// a comment in another file\n")]
    [InlineData("public sealed class Unrelated { int X => 3; }")]
    [InlineData("public sealed class Unre lated {")]
    public void An_edit_elsewhere_runs_nothing_anew(string other)
    {
        Run before = new Run(Compiler.Compile(Declaration, "class Other;"));
        Run after = before.With(1, other);
        Assert.Equal(s_cached, after.Steps);
        Assert.All(after.Outputs, reason => Assert.Equal(Cached, reason));
    }

    [Theory]
    [InlineData("public sealed partial class Sparse;", "public sealed partial class Sparse; // a comment after it")]
    [InlineData("public sealed partial class Sparse;", "public sealed partial class Sparse { int Mine() => 3; }")]
    public void An_edit_beside_the_attributes_runs_nothing_anew(string old, string edited)
    {
        Run after = new Run(Compiler.Compile(Declaration)).With(0, Declaration.Replace(old, edited, StringComparison.Ordinal));
        Assert.Equal(s_cached, after.Steps);
        Assert.All(after.Outputs, reason => Assert.Equal(Cached, reason));
    }

    [Theory]
    [InlineData("\n\n")]
    [InlineData("// a comment before it\n")]
    [InlineData("public sealed class Before;\n")]
    public void A_moved_declaration_changes_places_alone(string before)
    {
        Run after = new Run(Compiler.Compile(Declaration)).With(0, before + Declaration);
        Assert.Equal([Modified, Unchanged, Cached], after.Steps);
        Assert.All(after.Outputs, reason => Assert.Equal(Cached, reason));
    }

    [Fact]
    public void A_moved_fault_is_reported_at_its_new_place()
    {
        Run before = new(Compiler.Compile(Faulty));
        Run after = before.With(0, "\n\n" + Faulty);
        Assert.Equal(2, after.Result.Diagnostics.Single().Location.GetLineSpan().StartLinePosition.Line
            - before.Result.Diagnostics.Single().Location.GetLineSpan().StartLinePosition.Line);
        Assert.Equal(Modified, after.Reason(TrackingNames.Diagnostics));
    }

    [Theory]
    [InlineData("Share = 0.25", "Share = 0.5")]
    [InlineData("Causal", "Full")]
    [InlineData("class Sparse", "class Sparser")]
    public void A_changed_declaration_runs_every_step(string old, string edited)
    {
        Run after = new Run(Compiler.Compile(Declaration)).With(0, Declaration.Replace(old, edited, StringComparison.Ordinal));
        Assert.Equal([Modified, Modified, Modified], after.Steps);
        Assert.Contains(Modified, after.Outputs);
    }

    [Fact]
    public void Other_spelling_of_equal_values_emits_nothing_anew()
    {
        Run after = new Run(Compiler.Compile(Declaration)).With(0, Declaration.Replace("0.25", "1.0 / 4", StringComparison.Ordinal));
        Assert.Equal(Unchanged, after.Reason(TrackingNames.Spec));
        Assert.All(after.Outputs, reason => Assert.Equal(Cached, reason));
    }

    [Theory]
    [InlineData("=> score", "=> /* falls off */ score")]
    [InlineData("=> score - Fall", "=>\n            score - Fall")]
    [InlineData("0.5f", "1f / 2")]
    [InlineData("(int x) =>", "(int x) // a comment\n =>")]
    public void Other_text_of_an_equal_rule_emits_nothing_anew(string old, string edited)
    {
        Run after = new Run(Compiler.Compile(Ruled)).With(0, Ruled.Replace(old, edited, StringComparison.Ordinal));
        Assert.Equal(s_cached, after.Steps);
        Assert.All(after.Outputs, reason => Assert.Equal(Cached, reason));
    }

    [Theory]
    [InlineData("0.5f", "0.25f")]
    [InlineData("x * x", "x * x * x")]
    [InlineData("score - Fall", "score + Fall")]
    [InlineData("float slope", "float steepness")]
    public void A_changed_rule_runs_every_step(string old, string edited)
    {
        Run after = new Run(Compiler.Compile(Ruled)).With(0, Ruled.Replace(old, edited, StringComparison.Ordinal));
        Assert.Equal([Modified, Modified, Modified], after.Steps);
        Assert.Contains(Modified, after.Outputs);
    }

    [Fact]
    public void A_changed_pipeline_leaves_the_others_cached()
    {
        Run after = new Run(Compiler.Compile(Declaration, "[AttentionPipeline, TestAttend] partial class Dense;"))
            .With(1, "[AttentionPipeline(HeadDim = 64), TestAttend] partial class Dense;");
        Assert.Equal([Cached, Modified], after.Reasons(TrackingNames.Plan));
    }

    [Fact]
    public void A_changed_stage_of_the_project_reaches_the_pipelines_that_use_it()
    {
        const string Stage = """
            [DeviceStage("own.cuh", Type = "Own")]
            [DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile)]
            class OwnAttribute : TestAttendAttribute { [ConstantParameter(8)] public int Tile { get; set; } }
            """;
        Run after = new Run(Compiler.Compile("[AttentionPipeline, Own] partial class Dense;", Stage))
            .With(1, Stage.Replace("(8)", "(16)", StringComparison.Ordinal));
        Assert.Equal([Modified, Modified, Modified], after.Steps);
    }

    [Fact]
    public void The_old_compilation_can_be_collected()
    {
        (GeneratorDriver driver, WeakReference old) = RunAndForget();
        for (int i = 0; i < 10 && old.IsAlive; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.False(old.IsAlive, "A step's output holds on to the compilation that it came from.");
        GC.KeepAlive(driver);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static (GeneratorDriver Driver, WeakReference Old) RunAndForget()
    {
        // The trees differ, since the driver keeps the trees of its last run; so does the compilation that it saw last.
        CSharpCompilation first = Compiler.Compile(Declaration, "class Other;");
        GeneratorDriver driver = Compiler.Driver(track: false).RunGenerators(first);
        CSharpCompilation second = Compiler.Compile("\n" + Declaration, "class Others;");
        return (driver.RunGenerators(second), new WeakReference(first));
    }

    /// <summary>One run of the generator, and what became of each step in it.</summary>
    private sealed class Run
    {
        private readonly CSharpCompilation _compilation;
        private readonly GeneratorDriver _driver;

        public Run(CSharpCompilation compilation, GeneratorDriver? driver = null)
        {
            _compilation = compilation;
            _driver = (driver ?? Compiler.Driver()).RunGenerators(compilation);
            Result = _driver.GetRunResult().Results.Single();
        }

        public GeneratorRunResult Result { get; }

        public IncrementalStepRunReason[] Steps => [Reason(TrackingNames.Parse), Reason(TrackingNames.Spec), Reason(TrackingNames.Plan)];

        public IEnumerable<IncrementalStepRunReason> Outputs =>
            Result.TrackedOutputSteps.SelectMany(s => s.Value).SelectMany(s => s.Outputs).Select(o => o.Reason);

        public Run With(int source, string text)
        {
            SyntaxTree tree = _compilation.SyntaxTrees.Single(t => t.FilePath == $"Source{source}.cs");
            return new Run(_compilation.ReplaceSyntaxTree(tree, Compiler.Parse(text, tree.FilePath)), _driver);
        }

        public IncrementalStepRunReason Reason(string step) => Reasons(step).Single();

        public IEnumerable<IncrementalStepRunReason> Reasons(string step) =>
            Result.TrackedSteps[step].SelectMany(s => s.Outputs).Select(o => o.Reason);
    }
}
