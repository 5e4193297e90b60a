using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Model;

namespace AttnCompose.Generators.Tests.Passes;

/// <summary>Specs to graphs: order, names, options.</summary>
public sealed class StageGraphTests
{
    [Fact]
    public void Stages_run_by_kind_and_those_of_one_kind_as_declared()
    {
        StageGraph graph = GraphText.Parse("""
            decompress Scatter
              hook RowDestination: token_index
            kernel Attend RowSource RowDestination
              phase attend QueryHeadQueryTile
            selector Coarse
              phase coarse QueryHead
            compress Gather
              hook RowSource: token_index
            selector Fine
              phase fine QueryHead: token_index -> token_index
            """);
        Assert.Equal(["Coarse", "Fine", "Gather", "Attend", "Scatter"], graph.Nodes.Select(n => n.Stage.Name));
        Assert.Equal(["Selector", "Selector2", "RowSource", "Attention", "RowDestination"], graph.Nodes.Select(n => n.Role));
        Assert.Equal("demo-pipeline", graph.Name);
    }

    [Fact]
    public void Options_of_one_name_are_told_apart_by_their_stage()
    {
        Assert.Equal(["PickShare", "OtherShare", "Depth"], Members("""
            selector Pick
              option Share double 0.5
              phase a QueryHead
            selector Other
              option Share double 0.25
              option Depth int 3
              phase b QueryHead: token_index -> token_index
            """));
    }

    [Fact]
    public void An_option_and_a_constant_of_one_name_are_told_apart()
    {
        Assert.Equal(["PickWidth", "OtherWidth2"], Members("""
            selector Pick
              option Width int 3
              phase a QueryHead
            selector Other
              option Width int 4
              constant OtherWidth int 5
              constant Height int 6
              phase b QueryHead: token_index -> token_index
            """));
    }

    [Fact]
    public void Two_stages_of_one_type_have_options_and_fields_of_their_own()
    {
        const string Twice = """
            selector Pick
              option Share double 0.5
              phase a QueryHead
            selector Pick
              option Share double 0.25
              phase a QueryHead: token_index -> token_index
            """;
        Assert.Equal(["PickShare", "PickShare2"], Members(Twice));
        Assert.Equal(["_pick", "_pick2"], GraphText.Parse(Twice + GraphText.Rest).Selectors.Select(n => n.Field));
    }

    [Fact]
    public void An_option_never_takes_a_name_that_its_record_or_kernel_has()
    {
        StageGraph graph = GraphText.Parse("""
            selector Pick
              option Clone int 1
              option Query int 1
              option TokenIndex int 1
              option Default int 1
              option MinTokens int 1
              option Min_Tokens int 1
              phase a QueryHead
            """ + GraphText.Rest);
        Assert.Equal(["Clone2", "Query", "TokenIndex", "Default", "MinTokens", "Min_Tokens"], graph.Options.Select(o => o.Member));
        Assert.Equal(["clone2", "query_2", "token_index_2", "default_", "min_tokens", "min_tokens_2"], graph.Options.Select(o => o.Argument));
    }

    [Fact]
    public void A_field_never_takes_a_name_that_the_class_has()
    {
        StageGraph graph = GraphText.Parse("selector Cpu\n  phase a QueryHead" + GraphText.Rest);
        Assert.Equal("_cpu2", graph.Selectors.Single().Field);
    }

    [Theory]
    [InlineData("int", 2147483648.0)]
    [InlineData("int", 0.5)]
    [InlineData("float", 1e300)]
    [InlineData("double", double.PositiveInfinity)]
    [InlineData("double", double.NaN)]
    public void A_value_that_its_type_cannot_hold_is_out_of_range(string type, double value)
    {
        PipelineSpec spec = GraphText.ParseSpec($"selector Pick\n  option X {type} 0\n  phase a QueryHead" + GraphText.Rest);
        StageSpec pick = spec.Stages[0];
        spec = spec with { Stages = [pick with { Parameters = [pick.Parameters[0] with { Value = value }] }, .. spec.Stages.Skip(1)] };
        Problem problem = Assert.Single(StageGraphBuilder.Build(spec).Problems);
        Assert.Equal(("ATTN0022", 0, "X"), (problem.Id, problem.Stage, problem.Argument));
    }

    [Theory]
    [InlineData("compress Gather\n  hook RowSource: token_index\n  gather Ahead keys values: heads\n  buffer keys element\n"
        + "  phase copy QueryHeadKeyTile: heads -> keys", "no phase of it writes 'values'")]
    [InlineData("selector Other\n  phase b QueryHead: token_index -> token_index\n  gather Ahead keys values: heads\n"
        + "compress Gather\n  hook RowSource: token_index", "only a compress stage")]
    public void What_is_gathered_ahead_is_written_by_a_phase_of_a_compress_stage(string stages, string said)
    {
        PipelineSpec spec = GraphText.ParseSpec("selector Pick\n  phase a QueryHead\n" + stages + GraphText.Rest.Replace(
            "\ncompress Gather\n  hook RowSource: token_index", "", StringComparison.Ordinal));
        Problem problem = Assert.Single(StageGraphBuilder.Build(spec).Problems);
        Assert.Equal("ATTN0017", problem.Id);
        Assert.Contains(said, problem.Words[1], StringComparison.Ordinal);
    }

    private static IEnumerable<string> Members(string selectors) =>
        GraphText.Parse(selectors + GraphText.Rest).Options.Select(o => o.Member);
}
