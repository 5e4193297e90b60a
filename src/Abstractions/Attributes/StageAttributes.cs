using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>
/// A stage of a pipeline. A stage <em>is</em> its attribute: the properties are its parameters, on a declaration and at run
/// time alike, and the overridden methods are its CPU path. The generator knows the kinds below and no stage by name, so a
/// stage from any referenced assembly equals a built-in one.
/// </summary>
/// <remarks>
/// Each parameter property carries <see cref="RuntimeParameterAttribute"/> or <see cref="ConstantParameterAttribute"/>; each
/// stage carries <see cref="DeviceStageAttribute"/> for its CUDA side.
/// </remarks>
public abstract class StageAttribute : Attribute
{
    /// <summary>
    /// Adds the device buffers that the stage's phases share, by the names that its <see cref="DevicePhaseAttribute"/>s use.
    /// Called on the host before a launch; depends on nothing but parameters and shape.
    /// </summary>
    public virtual void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
    }
}

/// <summary>Decides, per head, which tokens take part. The result is a <see cref="TokenSelection"/>.</summary>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true, Inherited = false)]
public abstract class TokenSelectorAttribute : StageAttribute
{
    /// <summary>Chooses the tokens of every sequence and query head on the CPU.</summary>
    /// <param name="problem">The call's tensors, pinned.</param>
    /// <param name="cpu">Workers and scratch memory.</param>
    /// <param name="scores">The pipeline's score and mask rules, for selectors that score by attention.</param>
    /// <param name="selection">
    /// Where the choice goes, sized for the problem already. For the first selector all heads are empty; a later one finds the
    /// choice of the one before it and prunes it, and its <see cref="DevicePhaseAttribute"/>s read <c>token_index</c>.
    /// </param>
    public abstract void Select<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection)
        where T : unmanaged
        where TScore : struct, IScoreHook;

    /// <summary>
    /// How many tokens of a sequence of <see cref="ProblemShape.KeyLength"/> keys are scored: what a device run hands out in
    /// <see cref="TokenSelection.Scores"/> of the stage's workspace buffer <c>scores</c>, float [batch, query heads, Lk]. 0 for
    /// a stage that hands none out.
    /// </summary>
    public virtual int ScoreLength(in ProblemShape shape) => 0;

    /// <summary>How many tokens at the end of a sequence it keeps in any case: a selector that prunes it may count on them.</summary>
    public virtual int AlwaysKept => 0;
}

/// <summary>Makes the chosen tokens look like one shorter sequence. Derive from <see cref="CompressAttribute{TRows}"/>.</summary>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public abstract class CompressAttribute : StageAttribute
{
    private protected CompressAttribute()
    {
    }
}

/// <summary>A compress stage whose CPU side is the row source <typeparamref name="TRows"/>, a hook of the attention loop.</summary>
public abstract class CompressAttribute<TRows> : CompressAttribute
    where TRows : struct, IRowSource
{
    /// <summary>The row source over a selection.</summary>
    public abstract TRows Rows(TokenSelection selection);
}

/// <summary>
/// Decides, per query head, which blocks of keys each block of queries visits, and perhaps single columns and diagonals beside
/// them. It runs between compress and attention kernel, over the rows that take part: after a token selection, positions are
/// those of the compressed sequence. The result is a <see cref="BlockMask"/>.
/// </summary>
/// <remarks>
/// Its <see cref="DevicePhaseAttribute"/>s write <c>block_list</c>, <c>attn::BlockList</c> of
/// <c>attncompose/block_list.cuh</c>: every word of the bitmaps of each query block that has a query, and, where the stage has
/// them, count and columns, and the words of the slashes; the memory is not cleared. Its device config derives from the attention
/// kernel's, so it has <c>kBlockQuery</c> and <c>kBlockKey</c>. Its device struct also says
/// <c>static constexpr bool kColumns, kSlashes</c>, which are <see cref="HasColumns"/> and <see cref="HasSlashes"/>. For the
/// heads of <see cref="BlockMask.DenseHeads"/> (<c>dense_heads</c> of the list) it chooses every block that the mask leaves, and
/// nothing beside.
/// </remarks>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public abstract class BlockSelectorAttribute : StageAttribute
{
    /// <summary>Whether it chooses columns.</summary>
    public virtual bool HasColumns => false;

    /// <summary>Whether it chooses slashes.</summary>
    public virtual bool HasSlashes => false;

    /// <summary>Whether its list is the caller's, <see cref="AttentionArguments{T, TOut}.Blocks"/>, instead of its own choice.</summary>
    public virtual bool IsGiven => false;

    /// <summary>
    /// Adds the device buffers that the stage's phases share, for the block sizes of the pipeline's attention kernel. Without an
    /// override, those of <see cref="StageAttribute.DescribeWorkspace"/>.
    /// </summary>
    public virtual void DescribeWorkspace(
        in ProblemShape shape, BlockAttentionKernelAttribute kernel, WorkspaceLayout workspace) =>
        DescribeWorkspace(in shape, workspace);

    /// <summary>Chooses the blocks of every sequence and query head on the CPU.</summary>
    /// <param name="problem">The call's tensors, pinned.</param>
    /// <param name="cpu">Workers and scratch memory.</param>
    /// <param name="rows">Which rows take part.</param>
    /// <param name="scores">The pipeline's score and mask rules, for selectors that score by attention.</param>
    /// <param name="blocks">
    /// Where the choice goes, sized for the problem and with nothing visited. Query blocks without a query need no choice.
    /// </param>
    public abstract void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
        where T : unmanaged
        where TRows : struct, IRowSource
        where TScore : struct, IScoreHook;
}

/// <summary>An attention main loop over all keys that take part.</summary>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public abstract class AttentionKernelAttribute : StageAttribute
{
    /// <summary>Runs the loop on the CPU, with the other stages hooked in.</summary>
    public abstract void Attend<T, TOut, TRows, TScore, TDestination>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, TScore scores, TDestination destination)
        where T : unmanaged
        where TOut : unmanaged
        where TRows : struct, IRowSource
        where TScore : struct, IScoreHook
        where TDestination : struct, IRowDestination;
}

/// <summary>
/// An attention main loop over the key blocks that a block selector chose. The kind is that of
/// <see cref="AttentionKernelAttribute"/>; a pipeline has one of the two.
/// </summary>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public abstract class BlockAttentionKernelAttribute : StageAttribute
{
    /// <summary>Queries of a block: a constant parameter of the stage, <c>kBlockQuery</c> of its device config.</summary>
    public abstract int BlockQuery { get; set; }

    /// <summary>Keys of a block: a constant parameter of the stage, <c>kBlockKey</c> of its device config.</summary>
    public abstract int BlockKey { get; set; }

    /// <summary>Runs the loop on the CPU, with the other stages hooked in.</summary>
    public abstract void Attend<T, TOut, TRows, TScore, TDestination>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, BlockMask blocks, TScore scores, TDestination destination)
        where T : unmanaged
        where TOut : unmanaged
        where TRows : struct, IRowSource
        where TScore : struct, IScoreHook
        where TDestination : struct, IRowDestination;
}

/// <summary>What a pipeline's block list is made by and for: its block selector and its attention kernel.</summary>
/// <param name="Selector">Chooses the blocks.</param>
/// <param name="Kernel">Visits them.</param>
public readonly record struct BlockStages(BlockSelectorAttribute Selector, BlockAttentionKernelAttribute Kernel);

/// <summary>Puts result rows back at their places. Derive from <see cref="DecompressAttribute{TDestination}"/>.</summary>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public abstract class DecompressAttribute : StageAttribute
{
    private protected DecompressAttribute()
    {
    }
}

/// <summary>A decompress stage whose CPU side is the row destination <typeparamref name="TDestination"/>.</summary>
public abstract class DecompressAttribute<TDestination> : DecompressAttribute
    where TDestination : struct, IRowDestination
{
    /// <summary>The row destination over a selection.</summary>
    public abstract TDestination Destination(TokenSelection selection);
}
