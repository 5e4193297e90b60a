namespace AttnCompose.Cuda;

/// <summary>
/// Choices between ways to the same result: they change time and memory of a call on a device. The defaults were measured on an
/// H200; <c>attncompose tune</c> measures on the device at hand.
/// </summary>
public sealed record CudaTuning
{
    /// <summary>What a device has unless it is told otherwise.</summary>
    public static CudaTuning Default { get; } = new();

    /// <summary>
    /// Queries of a call from which on selected keys and values are gathered ahead of the attention loop, which then reads them
    /// through the copy engine; below, the loop copies them row by row. 0 always gathers ahead where there is a copy engine,
    /// <see cref="int.MaxValue"/> never.
    /// </summary>
    public int GatherLength { get; init; } = 8192;

    /// <summary>
    /// Most bytes of workspace for keys and values that are gathered ahead. With less than all query heads need they are
    /// gathered, and attended to, in groups; where it does not suffice for one head, the loop copies row by row.
    /// </summary>
    public long MaxWorkspace { get; init; } = 4L << 30;

    /// <summary>
    /// Kernels of a call from which on they are put on the stream as one graph, which is kept and given the arguments of each call;
    /// fewer are launched one by one. <see cref="int.MaxValue"/> never makes a graph. Inside a capture of the caller's, with
    /// <c>ATTNCOMPOSE_SYNC</c>, and in calls of more than 20 kernels they are launched one by one in any case.
    /// </summary>
    public int GraphKernels { get; init; } = 3;

    /// <summary>
    /// Shape of the wgmma attention loop's tiles where the copy engine brings keys; null for the default of the head dim. One that the
    /// head dim does not have (<see cref="AttnCompose.Cuda.AttentionTile.OthersFor"/>) is as null. A pipeline is compiled apart for each
    /// shape. Another shape adds in another order, so the last bits of results may differ.
    /// </summary>
    public AttentionTile? AttentionTile { get; init; }

    /// <summary>Most thread blocks that share the keys of one head or sequence while tokens are selected, 1 to 8.</summary>
    public int TeamBlocks { get; init; } = 8;
}
