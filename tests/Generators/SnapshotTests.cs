using AttnCompose.Testing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Generators.Tests;

/// <summary>What the ready pipelines and the scenarios become, for reviewers: the plan, the CUDA, the C# that launches it, the CPU path.</summary>
public sealed class SnapshotTests
{
    public static readonly TheoryData<string> Names = [.. Scenarios.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void Plan(string scenario)
    {
        // The plan of the compiled type: what a program would print.
        object? plan = Scenarios.Load(scenario).GetProperty("Plan")!.GetValue(null);
        Snapshot.Match(scenario, "plan.txt", plan!.ToString()!);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Kernels(string scenario)
    {
        SyntaxNode root = CSharpSyntaxTree.ParseText(Scenarios.SourceOf(scenario, "Kernels"), Compiler.ParseOptions).GetRoot();
        Snapshot.Match(scenario, "kernels.cu", root.DescendantNodes().OfType<LiteralExpressionSyntax>().Single().Token.ValueText);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Launch(string scenario) => Snapshot.Match(scenario, "launch.cs", Scenarios.SourceOf(scenario, "Launch"));

    [Theory]
    [MemberData(nameof(Names))]
    public void Cpu(string scenario) => Snapshot.Match(scenario, "cpu.cs", Scenarios.SourceOf(scenario, "Cpu"));
}
