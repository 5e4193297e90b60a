using System.Reflection;
using System.Xml.Linq;
using AttnCompose.Testing;

namespace AttnCompose.Architecture;

/// <summary>
/// user -> Pipelines -> Cuda -> Abstractions; Models -> Pipelines; Cli -> all, the tests' Conformance library among them, which
/// itself knows Pipelines alone; Testing, which authors of stages inherit from, -> Cuda; Generators -> nothing.
/// </summary>
public sealed class ProjectReferenceTests
{
    [Theory]
    [InlineData("Abstractions", "Generators", "System.Numerics.Tensors")]
    [InlineData("Generators", "", "Microsoft.CodeAnalysis.Analyzers Microsoft.CodeAnalysis.CSharp")]
    [InlineData("Cuda", "Abstractions", "")]
    [InlineData("Pipelines", "Cuda Generators", "")]
    [InlineData("Models", "Pipelines", "")]
    [InlineData("Testing", "Cuda", "xunit.assert xunit.extensibility.core")]
    [InlineData("Cli", "Conformance Generators Models", "Spectre.Console System.CommandLine")]
    public void A_project_depends_on_what_lies_below_it(string project, string projects, string packages)
    {
        XDocument file = Load(project);
        Assert.Equal(projects, string.Join(' ', file.Descendants("ProjectReference").Select(ProjectName).Order(StringComparer.Ordinal)));
        Assert.Equal(packages,
            string.Join(' ', file.Descendants("PackageReference").Select(Include).Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void The_conformance_library_that_the_program_ships_is_no_test_project()
    {
        XDocument file = XDocument.Load(Repository.PathOf("tests/Conformance/AttnCompose.Conformance.csproj"));
        Assert.Equal("Pipelines Generators", string.Join(' ', file.Descendants("ProjectReference").Select(ProjectName)));
        Assert.Empty(file.Descendants("PackageReference"));
    }

    [Fact]
    public void The_generator_is_built_before_others_and_referenced_by_none()
    {
        // Abstractions packs it, Pipelines runs it.
        foreach (string project in (string[])["Abstractions", "Pipelines"])
        {
            XElement reference = Load(project).Descendants("ProjectReference").Single(item => ProjectName(item) == "Generators");
            Assert.Equal("false", (string?)reference.Attribute("ReferenceOutputAssembly"));
            Assert.Equal(project == "Pipelines" ? "Analyzer" : null, (string?)reference.Attribute("OutputItemType"));
        }
    }

    [Fact]
    public void The_generator_shares_source_with_Abstractions_Shared_alone()
    {
        Assert.Equal(["../Abstractions/Shared/*.cs"], Load("Generators").Descendants("Compile").Select(Include));
        Assert.DoesNotContain(
            Assembly.Load("AttnCompose.Generators").GetReferencedAssemblies(), name => name.Name!.StartsWith("AttnCompose.", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("AttnCompose.Abstractions", "")]
    [InlineData("AttnCompose.Cuda", "AttnCompose.Abstractions")]
    [InlineData("AttnCompose.Pipelines", "AttnCompose.Abstractions AttnCompose.Cuda")]
    [InlineData("AttnCompose.Models", "AttnCompose.Abstractions AttnCompose.Cuda AttnCompose.Pipelines")]
    public void An_assembly_refers_to_nothing_above_it(string assembly, string allowed) =>
        Assert.Empty(Assembly.Load(assembly).GetReferencedAssemblies()
            .Select(name => name.Name!)
            .Where(name => name.StartsWith("AttnCompose", StringComparison.OrdinalIgnoreCase))
            .Except(allowed.Split(' ')));

    [Fact]
    public void A_stage_of_another_assembly_needs_Abstractions_alone()
    {
        XDocument stages = XDocument.Load(Repository.PathOf("samples/CustomStage/Stages/CustomStage.Stages.csproj"));
        Assert.Equal(
            "Abstractions Generators", string.Join(' ', stages.Descendants("ProjectReference").Select(ProjectName).Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void The_CUDA_runtime_knows_no_stage()
    {
        string[] stages = [.. Stages.All.Select(stage => stage.Name[..^"Attribute".Length])];
        Assert.NotEmpty(stages);
        foreach (string file in Files.Under("src/Cuda", ".cs"))
        {
            string text = File.ReadAllText(file);
            Assert.All(stages, stage => Assert.False(text.Contains(stage, StringComparison.Ordinal), $"{file} names {stage}."));
        }
    }

    private static XDocument Load(string project) =>
        XDocument.Load(Repository.PathOf($"src/{project}/AttnCompose.{project}.csproj"));

    private static string Include(XElement item) => (string)item.Attribute("Include")!;

    private static string ProjectName(XElement item) => Path.GetFileNameWithoutExtension(Include(item))["AttnCompose.".Length..];
}
