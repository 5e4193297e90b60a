using System.Text.RegularExpressions;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Testing;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Tests;

/// <summary>The page of each rule shows code that breaks that rule and no other.</summary>
public sealed partial class DiagnosticPagesTests
{
    // The stages of the pages that no library has. What else the pages leave out with "..." is no concern of a rule.
    private const string PageStages = """
        [DeviceStage("my.cuh", Type = "MyAttention")]
        [DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile)]
        class MyAttentionAttribute : TestAttendAttribute
        {
            public MyAttentionAttribute() { }
            public MyAttentionAttribute(int tile) { }
        }
        [DeviceStage("my.cuh", Type = "MyClosedAttention", Offers = FusionPoint.RowDestination)]
        [DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile)]
        class MyClosedAttentionAttribute : TestAttendAttribute;
        [DeviceStage("my.cuh", Type = "MySelector")]
        [DevicePhase("score", Scope = PhaseScope.KeyTile, Reads = ["query", "key"])]
        class MySelectorAttribute : TestSelectAttribute;
        """;

    public static readonly TheoryData<string> Rules = [.. DiagnosticDescriptors.All.Select(rule => rule.Id)];

    [Theory]
    [MemberData(nameof(Rules))]
    public void The_example_of_a_page_breaks_its_rule(string id)
    {
        string page = File.ReadAllText(Repository.PathOf($"docs/diagnostics/{id}.md"));
        Compilation compilation = Compiler.Compile(Example().Match(page).Groups["code"].Value, PageStages);
        IEnumerable<Diagnostic> found = Compiler.Generate(compilation).Diagnostics
            .Concat(Compiler.Analyze(compilation, "first_tokens.cuh", "my.cuh"))
            .Where(d => d.Location.GetLineSpan().Path == "Source0.cs");
        Assert.Equal([id], found.Select(d => d.Id).Distinct());
    }

    [Theory]
    [MemberData(nameof(Rules))]
    public void A_page_has_the_title_of_its_rule_and_the_three_parts(string id)
    {
        string page = File.ReadAllText(Repository.PathOf($"docs/diagnostics/{id}.md"));
        Assert.StartsWith($"# {id}: {DiagnosticDescriptors.ById(id).Title}\n\n", page);
        Assert.Equal(["## Example", "## How to fix"], page.Split('\n').Where(line => line.StartsWith("## ", StringComparison.Ordinal)));
    }

    [GeneratedRegex("```csharp\n(?<code>.*?)```", RegexOptions.Singleline)]
    private static partial Regex Example();
}
