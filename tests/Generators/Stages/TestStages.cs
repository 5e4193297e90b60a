using System;
using AttnCompose.Cpu;

namespace AttnCompose.TestStages;

// Stages that the tests declare pipelines with, beside the built-in ones: a stage of any assembly equals a built-in one.
// They exist for what their attributes say; the tests never run them, so their CPU side refuses. The tests compile this file in
// memory, as an assembly of its own.

/// <summary>A selector whose last two phases own a query head each, so that they share a kernel.</summary>
[DeviceStage("test_select.cuh", Type = "TestSelect", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("scores", "float", Shape = "[batch, query heads, key length]")]
[DeviceBuffer("ranks", "int", Shape = "[batch, query heads, key length]")]
[DevicePhase("score", Scope = PhaseScope.KeyTile, Reads = ["query", "key"], Writes = ["scores"], Summary = "scores of one tile of keys")]
[DevicePhase("rank", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["ranks"], Summary = "rank of every key")]
[DevicePhase("pick", Scope = PhaseScope.QueryHead, Reads = ["ranks"], Writes = ["token_index"], Parameters = ["Share"],
    Summary = "the keys of the best ranks, ascending")]
public class TestSelectAttribute : TokenSelectorAttribute
{
    /// <summary>Share of the keys to keep.</summary>
    [RuntimeParameter(0.5, Min = 0, Max = 1)]
    public double Share { get; set; }

    /// <summary>Queries that score.</summary>
    [ConstantParameter(64, Min = 1, Max = 512)]
    public int Window { get; set; }

    /// <summary>Whether the first key is kept whatever its score.</summary>
    [ConstantParameter(1)]
    public bool KeepFirst { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        long rows = (long)shape.Batch * shape.QueryHeads * shape.KeyLength;
        workspace.Add("scores", rows, sizeof(float));
        workspace.Add("ranks", rows, sizeof(int));
    }

    /// <inheritdoc/>
    public override void Select<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection) =>
        throw new NotSupportedException("A stage for declarations alone.");
}

/// <summary>A selector that prunes the choice of the one before it, so that selectors can be chained.</summary>
[DeviceStage("test_select.cuh", Type = "TestPrune")]
[DeviceBuffer("scores", "float", Shape = "[batch, query heads]")]
[DevicePhase("weigh", Scope = PhaseScope.QueryHead, Reads = ["token_index"], Writes = ["scores"], Summary = "how many tokens a head keeps")]
[DevicePhase("prune", Scope = PhaseScope.QueryHead, Reads = ["scores", "token_index"], Writes = ["token_index"], Parameters = ["Share"],
    Summary = "the last of the kept tokens")]
public class TestPruneAttribute : TokenSelectorAttribute
{
    /// <summary>Share of the kept tokens that stay.</summary>
    [RuntimeParameter(0.5, Min = 0, Max = 1)]
    public double Share { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace) =>
        workspace.Add("scores", (long)shape.Batch * shape.QueryHeads, sizeof(float));

    /// <inheritdoc/>
    public override void Select<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection) =>
        throw new NotSupportedException("A stage for declarations alone.");
}

/// <summary>A selector without a CUDA side.</summary>
public sealed class CpuOnlySelectAttribute : TokenSelectorAttribute
{
    /// <inheritdoc/>
    public override void Select<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection) =>
        throw new NotSupportedException("A stage for declarations alone.");
}

/// <summary>A row source.</summary>
[DeviceStage("test_hooks.cuh", Type = "TestGather")]
[DeviceHook(FusionPoint.RowSource, Reads = ["token_index"], Summary = "rows are the chosen tokens")]
public sealed class TestGatherAttribute : CompressAttribute<DirectRows>
{
    /// <inheritdoc/>
    public override DirectRows Rows(TokenSelection selection) => default;
}

/// <summary>A row destination.</summary>
[DeviceStage("test_hooks.cuh", Type = "TestScatter")]
[DeviceHook(FusionPoint.RowDestination, Reads = ["token_index"], Summary = "rows go back to their places")]
public sealed class TestScatterAttribute : DecompressAttribute<DirectDestination>
{
    /// <inheritdoc/>
    public override DirectDestination Destination(TokenSelection selection) => default;
}

/// <summary>A block selector: the first blocks and the last ones before each query block.</summary>
[DeviceStage("test_blocks.cuh", Type = "TestBlocks")]
[DevicePhase("choose", Scope = PhaseScope.QueryHead, Reads = ["query", "key"], Writes = ["block_list"], Parameters = ["Local"],
    Summary = "the first block and those before the diagonal")]
public sealed class TestBlocksAttribute : BlockSelectorAttribute
{
    /// <summary>Blocks before the diagonal.</summary>
    [RuntimeParameter(4, Min = 1)]
    public int Local { get; set; }

    /// <summary>First blocks.</summary>
    [ConstantParameter(1, Min = 0, Max = 64)]
    public int Sink { get; set; }

    /// <inheritdoc/>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) =>
        throw new NotSupportedException("A stage for declarations alone.");
}

/// <summary>A kernel that others can hook into.</summary>
[DeviceStage("test_attend.cuh", Type = "TestAttend", Offers = FusionPoint.RowSource | FusionPoint.Score | FusionPoint.RowDestination)]
[DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "key", "value"], Writes = ["output"], Summary = "online softmax")]
public class TestAttendAttribute : AttentionKernelAttribute
{
    /// <inheritdoc/>
    public override void Attend<T, TOut, TRows, TScore, TDestination>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, TScore scores, TDestination destination) =>
        throw new NotSupportedException("A stage for declarations alone.");
}

/// <summary>A kernel that nothing can hook into.</summary>
[DeviceStage("test_attend.cuh", Type = "ClosedAttend")]
[DevicePhase("attend", Scope = PhaseScope.QueryHeadQueryTile, Reads = ["query", "key", "value"], Writes = ["output"], Summary = "online softmax")]
public sealed class ClosedAttendAttribute : AttentionKernelAttribute
{
    /// <inheritdoc/>
    public override void Attend<T, TOut, TRows, TScore, TDestination>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, TScore scores, TDestination destination) =>
        throw new NotSupportedException("A stage for declarations alone.");
}
