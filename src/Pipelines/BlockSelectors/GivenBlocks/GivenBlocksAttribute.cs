using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>
/// Block selector: the caller's own list, <see cref="AttentionArguments{T, TOut}.Blocks"/> of each call. Nothing is computed; the
/// attention loop reads the list where it lies. After a token selection the list counts rows of the compressed sequence.
/// </summary>
[DeviceStage("given_blocks.cuh", Type = "GivenBlocks")]
[DeviceHook(FusionPoint.BlockList, Reads = ["block_list"], Summary = "key blocks that the caller lists")]
public sealed class GivenBlocksAttribute : BlockSelectorAttribute
{
    /// <summary>Whether a list may hold columns: single keys that every query of a head sees.</summary>
    [ConstantParameter(0)]
    public bool Columns { get; set; }

    /// <summary>Whether a list may hold slashes: keys at a fixed distance before each query.</summary>
    [ConstantParameter(0)]
    public bool Slashes { get; set; }

    /// <inheritdoc/>
    public override bool HasColumns => Columns;

    /// <inheritdoc/>
    public override bool HasSlashes => Slashes;

    /// <inheritdoc/>
    public override bool IsGiven => true;

    /// <summary>Does nothing: the list is there already.</summary>
    public override void Select<T, TRows, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks)
    {
    }
}
