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

/// <summary>An attention main loop.</summary>
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
