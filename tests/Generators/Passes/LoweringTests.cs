using AttnCompose.Generators.Lowering;
using AttnCompose.Generators.Plan;

namespace AttnCompose.Generators.Tests.Passes;

/// <summary>Each pass of lowering, on graphs written as text.</summary>
public sealed class LoweringTests
{
    private const string Pick = """
        selector Pick
          option Share double 0.5 0..1
          constant Window int 64
          buffer scores float
          buffer ranks int
          phase score KeyTile: query key -> scores
          phase rank QueryHead: scores -> ranks
          phase pick QueryHead: ranks -> token_index (Share, Window)
        """;

    // In second place it reads the choice of the first.
    private static readonly string Prune = Pick.Replace("query key -> scores", "token_index -> scores", StringComparison.Ordinal);

    private const string Dense = """
        kernel Attend RowSource Score RowDestination
          phase attend QueryHeadQueryTile: query key value -> output
        """;

    [Fact]
    public void NameBuffers_gives_each_stage_its_own() =>
        Equal(
            """
            scores = _pick.scores: float
            ranks = _pick.ranks: int
            scores_2 = _pick2.scores: float
            ranks_2 = _pick2.ranks: int
            """,
            GraphText.Buffers(Named(Pick + "\n" + Prune + GraphText.Rest)));

    [Fact]
    public void NameBuffers_keeps_clear_of_options_and_tensors() =>
        Equal(
            """
            budget_2 = _pick.budget: int
            key_2 = _pick.key: float
            problem_2 = _pick.problem: float
            """,
            GraphText.Buffers(Named("""
                selector Pick
                  option Budget int 3
                  buffer budget int
                  buffer key float
                  buffer problem float
                  phase a QueryHead: query -> budget key problem (Budget)
                """ + GraphText.Rest)));

    private const string Blocks = """
        blocks Choose
          option Share double 0.5 0..1
          buffer scores float
          phase estimate QueryHeadQueryTile: query key -> scores
          phase choose QueryHead: scores -> block_list (Share)
        kernel Attend RowSource Score RowDestination BlockList
          buffer order int
          phase sort QueryHead: -> order
          phase attend QueryHeadQueryTile: query key value order -> output
        """;

    [Fact]
    public void A_block_selector_is_given_rows_and_scores_and_is_the_loops_block_list()
    {
        FusionPlan plan = LoweringPipeline.Run(GraphText.Parse(Blocks));
        Equal(
            """
            RowSource = default(attn::TensorMaps tensor_maps as maps) as RowSource
            Score = default() as Score
            RowDestination = default() as RowDestination
            BlockList = Choose(attn::BlockList block_list) as Blocks
            """,
            GraphText.Hooks(plan));
        Equal(
            """
            demo_pipeline_estimate = QueryHeadQueryTile(estimate >scores)
            demo_pipeline_choose = QueryHead(choose <scores>block_list) because choose reads scores in other blocks than wrote it (there one a tile of queries of a query head)
            demo_pipeline_sort = QueryHead(sort <block_list>order) because its stage may have blocks of another size than the stage before it
            demo_pipeline_attend = QueryHeadQueryTile(attend <order,block_list) because attend reads order in other blocks than wrote it (there one a query head)
            """,
            GraphText.Kernels(plan));
        Equal(
            """
            demo_pipeline_estimate: attn::TensorMaps tensor_maps as maps, float* scores!
            demo_pipeline_choose: attn::TensorMaps tensor_maps as maps, float* scores, attn::BlockList block_list!, double share
            demo_pipeline_sort: attn::TensorMaps tensor_maps as maps, attn::BlockList block_list, int* order!
            demo_pipeline_attend: attn::TensorMaps tensor_maps as maps, attn::BlockList block_list, int* order
            """,
            GraphText.Arguments(plan));
        Assert.Equal(["RowSource Score", "RowSource Score", "RowSource BlockList", "RowSource Score RowDestination BlockList"],
            plan.Kernels.Select(k => string.Join(" ", plan.HooksOf(k, k.Steps[0]).Select(h => h.Point))));
        Assert.Equal([false, false, false, true], plan.Kernels.Select(k => k.Steps[0].TakesHooks));
    }

    [Fact]
    public void BindHooks_binds_stages_and_defaults() =>
        Equal(
            """
            RowSource = Gather(attn::TokenIndex token_index) as RowSource
            Score = default() as Score
            RowDestination = Scatter(attn::TokenIndex token_index) as RowDestination
            """,
            GraphText.Hooks(Bound(Pick + GraphText.Rest)));

    [Fact]
    public void BindHooks_of_a_dense_pipeline_are_all_defaults() =>
        Equal(
            """
            RowSource = default(attn::TensorMaps tensor_maps as maps) as RowSource
            Score = default() as Score
            RowDestination = default() as RowDestination
            """,
            GraphText.Hooks(Bound(Dense)));

    [Fact]
    public void BindHooks_binds_nothing_that_the_loop_lacks() =>
        Equal("Score = default() as Score", GraphText.Hooks(Bound("kernel Attend Score\n  phase attend QueryHeadQueryTile")));

    [Fact]
    public void BindHooks_passes_a_hook_its_parameters_by_their_unique_names() =>
        Equal(
            """
            RowSource = Gather(attn::TokenIndex token_index, int gather_rows as rows) as RowSource
            RowDestination = Scatter(attn::TokenIndex token_index, int scatter_rows as rows) as RowDestination
            """,
            GraphText.Hooks(Bound("""
                selector Pick
                  phase a QueryHead: query -> token_index
                compress Gather
                  option Rows int 1
                  hook RowSource: token_index (Rows)
                kernel Attend RowSource RowDestination
                  phase attend QueryHeadQueryTile
                decompress Scatter
                  option Rows int 2
                  hook RowDestination: token_index (Rows)
                """)));

    [Fact]
    public void ExpandPhases_makes_a_kernel_of_each() =>
        Equal(
            """
            KeyTile(score >scores)
            QueryHead(rank <scores>ranks)
            QueryHead(pick <ranks>token_index)
            QueryHeadQueryTile(attend <token_index)
            """,
            GraphText.Kernels(Expanded(Pick + GraphText.Rest)));

    [Fact]
    public void FuseSequentialPhases_joins_phases_of_one_block() =>
        Equal(
            """
            KeyTile(score >scores)
            QueryHead(rank <scores>ranks, pick <ranks>token_index) because rank reads scores in other blocks than wrote it (there one a tile of keys)
            QueryHeadQueryTile(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a query head)
            """,
            GraphText.Kernels(Fused(Pick + GraphText.Rest)));

    [Fact]
    public void FuseSequentialPhases_keeps_stages_apart() =>
        Equal(
            """
            QueryHead(coarse >token_index)
            QueryHead(fine <token_index>token_index) because its stage may have blocks of another size than the stage before it
            QueryHeadQueryTile(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a query head)
            """,
            GraphText.Kernels(Fused("""
                selector Coarse
                  phase coarse QueryHead: query key -> token_index
                selector Fine
                  phase fine QueryHead: token_index -> token_index
                """ + GraphText.Rest)));

    [Theory]
    [InlineData("Sequence", "sequence")]
    [InlineData("KeyTile", "tile of keys")]
    [InlineData("KeyValueHeadKeyTile", "tile of keys of a key/value head")]
    [InlineData("KeyValueHeadKeySegment", "segment of the keys of a key/value head")]
    public void FuseSequentialPhases_splits_where_a_block_owns_something_else(string scope, string words) =>
        Equal(
            $"""
            QueryHead(first >part)
            {scope}(second <part>token_index) because second reads part in other blocks than wrote it (there one a query head)
            QueryHeadQueryTile(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a {words})
            """,
            GraphText.Kernels(Fused($"""
                selector Pick
                  buffer part float
                  phase first QueryHead: query -> part
                  phase second {scope}: part -> token_index
                """ + GraphText.Rest)));

    [Fact]
    public void FuseSequentialPhases_never_joins_tiles_which_read_their_neighbours_results() =>
        Equal(
            """
            KeyTile(first >part)
            KeyTile(second <part>token_index) because second reads part in other blocks than wrote it (there one a tile of keys)
            QueryHeadQueryTile(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a tile of keys)
            """,
            GraphText.Kernels(Fused("""
                selector Pick
                  buffer part float
                  phase first KeyTile: query -> part
                  phase second KeyTile: part -> token_index
                """ + GraphText.Rest)));

    [Fact]
    public void FuseSequentialPhases_says_so_where_nothing_flows() =>
        Equal(
            """
            KeyTile(first >part)
            QueryHead(second >token_index) because its blocks own another part of the problem (a query head) than those before it
            QueryHeadQueryTile(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a query head)
            """,
            GraphText.Kernels(Fused("""
                selector Pick
                  buffer part float
                  phase first KeyTile: query -> part
                  phase second QueryHead: query -> token_index
                """ + GraphText.Rest)));

    [Fact]
    public void FuseSequentialPhases_leaves_the_attention_loop_alone() =>
        Equal(
            """
            QueryHead(pick >token_index)
            QueryHead(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a query head)
            """,
            GraphText.Kernels(Fused(("selector Pick\n  phase pick QueryHead: query -> token_index" + GraphText.Rest)
                .Replace("QueryHeadQueryTile", "QueryHead", StringComparison.Ordinal))));

    [Fact]
    public void PlanArguments_lists_each_argument_once_and_says_what_is_written() =>
        Equal(
            """
            demo_pipeline_score: float* scores!
            demo_pipeline_rank_pick: float* scores, int* ranks!, attn::TokenIndex token_index!, double share
            demo_pipeline_attend: attn::TokenIndex token_index
            """,
            GraphText.Arguments(Planned(Pick + GraphText.Rest)));

    [Fact]
    public void PlanArguments_tells_two_selectors_of_one_type_apart()
    {
        FusionPlan plan = Planned(Pick + "\n" + Prune + GraphText.Rest);
        Equal(
            """
            demo_pipeline_score: float* scores!
            demo_pipeline_rank_pick: float* scores, int* ranks!, attn::TokenIndex token_index!, double pick_share as share
            demo_pipeline_score_2: attn::TokenIndex token_index, float* scores_2 as scores!
            demo_pipeline_rank_pick_2: float* scores_2 as scores, int* ranks_2 as ranks!, attn::TokenIndex token_index!, double pick_share2 as share
            demo_pipeline_attend: attn::TokenIndex token_index
            """,
            GraphText.Arguments(plan));
    }

    [Fact]
    public void A_tensor_of_the_caller_keeps_its_name_and_others_give_way()
    {
        FusionPlan plan = Planned("""
            selector Pick
              option Gates int 3
              buffer scores float
              tensor gates float QueryHeads HeadDim 16
              phase score KeyTile: query key gates -> scores (Gates)
              phase pick QueryHead: gates scores -> token_index
            selector Prune
              buffer gates int
              tensor scores int 4
              phase prune QueryHead: token_index scores gates -> gates token_index
            """ + GraphText.Rest);
        Equal(
            """
            demo_pipeline_score: float* gates, float* scores_2 as scores!, int gates_2 as gates
            demo_pipeline_pick: float* gates, float* scores_2 as scores, attn::TokenIndex token_index!
            demo_pipeline_prune: attn::TokenIndex token_index!, int* scores, int* gates_3 as gates!
            demo_pipeline_attend: attn::TokenIndex token_index
            """,
            GraphText.Arguments(plan));
        // It is no phase's result, so it separates no kernels.
        Assert.All(plan.Kernels, kernel => Assert.DoesNotContain(kernel.Steps, step => step.Reads.Any(name => name is "gates" or "scores")));
    }

    [Fact]
    public void PlanArguments_never_takes_a_buffer_for_a_parameter() =>
        Equal(
            """
            demo_pipeline_a: int* budget_2 as budget!, int budget
            demo_pipeline_attend: attn::TokenIndex token_index
            """,
            GraphText.Arguments(Planned("""
                selector Pick
                  option Budget int 3
                  buffer budget int
                  phase a QueryHead: query -> budget token_index (Budget)
                """ + GraphText.Rest)).Replace(", attn::TokenIndex token_index!", "", StringComparison.Ordinal));

    [Fact]
    public void PlanArguments_names_entries_in_ascii() =>
        Equal(
            "demo_pipeline_u00e4_b: ",
            GraphText.Arguments(Planned("kernel Attend Score\n  phase ä_b QueryHeadQueryTile")));

    // In the place of Rest: the compress stage can also gather ahead.
    private static readonly string Gathering = GraphText.Rest.Replace(
        "  hook RowSource: token_index",
        """
          hook RowSource: token_index
          gather Ahead keys values: heads token_index
          buffer keys element
          buffer values element
          phase copy QueryHeadKeyTile: heads key value token_index -> keys values
        """,
        StringComparison.Ordinal);

    [Fact]
    public void A_stage_that_gathers_ahead_makes_two_ways_through_the_loop()
    {
        FusionPlan plan = Planned("selector Pick\n  phase pick QueryHead: query -> token_index" + Gathering);
        Equal(
            """
            demo_pipeline_pick = QueryHead(pick >token_index)
            demo_pipeline_attend = QueryHeadQueryTile(attend <token_index) because attend reads token_index in other blocks than wrote it (there one a query head)
            demo_pipeline_copy = QueryHeadKeyTile(copy <token_index>keys,values) because copy reads token_index in other blocks than wrote it (there one a query head)
            demo_pipeline_attend_gathered = QueryHeadQueryTile(attend <token_index,keys,values) because attend reads keys in other blocks than wrote it (there one a tile of keys of a query head)
            """,
            GraphText.Kernels(plan));
        Equal(
            """
            demo_pipeline_pick: attn::TokenIndex token_index!
            demo_pipeline_attend: attn::TokenIndex token_index
            demo_pipeline_copy: attn::HeadRange heads, attn::TokenIndex token_index, Config::Element* keys!, Config::Element* values!
            demo_pipeline_attend_gathered: attn::HeadRange heads, attn::TokenIndex token_index, attn::TensorMaps tensor_maps as maps
            """,
            GraphText.Arguments(plan));
        Assert.Equal(
            [KernelPath.Every, KernelPath.InLoop, KernelPath.Gathered, KernelPath.Gathered], plan.Kernels.Select(kernel => kernel.Path));
        Assert.Equal(["GatheredRowSource", "Score", "RowDestination"], plan.GatheredHooks.Select(hook => hook.Alias));
    }

    [Fact]
    public void PlanLifetimes_runs_from_the_first_writer_to_the_last_reader() =>
        Equal(
            """
            scores = _pick.scores: float, demo_pipeline_score -> demo_pipeline_rank_pick
            ranks = _pick.ranks: int, demo_pipeline_rank_pick -> demo_pipeline_rank_pick
            """,
            GraphText.Buffers(LoweringPipeline.Run(GraphText.Parse(Pick + GraphText.Rest))));

    [Fact]
    public void PlanLifetimes_drops_a_buffer_that_nobody_uses() =>
        Equal(
            "used = _pick.used: float, demo_pipeline_a -> ",
            GraphText.Buffers(LoweringPipeline.Run(GraphText.Parse("""
                selector Pick
                  buffer unused float
                  buffer used float
                  phase a QueryHead: query -> used token_index
                """ + GraphText.Rest))));

    [Fact]
    public void Equal_graphs_have_equal_plans_and_others_do_not()
    {
        FusionPlan plan = LoweringPipeline.Run(GraphText.Parse(Pick + GraphText.Rest));
        Assert.Equal(plan, LoweringPipeline.Run(GraphText.Parse(Pick + GraphText.Rest)));
        Assert.Equal(plan.GetHashCode(), LoweringPipeline.Run(GraphText.Parse(Pick + GraphText.Rest)).GetHashCode());
        Assert.NotEqual(plan, LoweringPipeline.Run(GraphText.Parse(Pick.Replace("0.5", "0.25", StringComparison.Ordinal) + GraphText.Rest)));
    }

    private static FusionPlan Named(string graph) => NameBuffers.Run(GraphText.Plan(graph));

    private static FusionPlan Bound(string graph) => BindHooks.Run(Named(graph));

    private static FusionPlan Expanded(string graph) => ExpandPhases.Run(Bound(graph));

    private static FusionPlan Fused(string graph) => FuseSequentialPhases.Run(Expanded(graph));

    private static FusionPlan Planned(string graph) => PlanArguments.Run(Fused(graph));

    private static void Equal(string expected, string actual) => Assert.Equal(expected.ReplaceLineEndings("\n"), actual);
}
