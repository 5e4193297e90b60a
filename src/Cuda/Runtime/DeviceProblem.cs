using System.Runtime.InteropServices;

namespace AttnCompose.Cuda;

/// <summary>Strides of a tensor [batch, heads, rows, dim] whose rows are contiguous, in elements.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct DeviceStrides(long Batch, long Head, long Row);

/// <summary>
/// What every kernel of a pipeline gets first: <c>attn::Problem</c> of the device code, byte for byte, 208 bytes. Pointers
/// are device addresses; 0 stands for an argument that was left out.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct DeviceProblem
{
    /// <summary>Element [batch, query heads, Lq, dim].</summary>
    public nint Query;

    /// <summary>Element [batch, key/value heads, Lk, dim].</summary>
    public nint Key;

    /// <summary>Element [batch, key/value heads, Lk, dim].</summary>
    public nint Value;

    /// <summary>Output [batch, query heads, Lq, dim].</summary>
    public nint Output;

    /// <summary>float [batch, query heads, Lq], natural log; may be 0.</summary>
    public nint LogSumExp;

    /// <summary>int32 [batch], valid keys of each sequence; may be 0.</summary>
    public nint KeyLengths;

    /// <summary>int32 [batch], valid queries of each sequence; may be 0.</summary>
    public nint QueryLengths;

    /// <summary>Strides of <see cref="Query"/>.</summary>
    public DeviceStrides QueryStrides;

    /// <summary>Strides of <see cref="Key"/>.</summary>
    public DeviceStrides KeyStrides;

    /// <summary>Strides of <see cref="Value"/>.</summary>
    public DeviceStrides ValueStrides;

    /// <summary>Strides of <see cref="Output"/>.</summary>
    public DeviceStrides OutputStrides;

    /// <summary>Strides of <see cref="LogSumExp"/>; a row is one element.</summary>
    public DeviceStrides LogSumExpStrides;

    /// <summary>Sequences.</summary>
    public int Batch;

    /// <summary>Query heads.</summary>
    public int QueryHeads;

    /// <summary>Key/value heads.</summary>
    public int KeyValueHeads;

    /// <summary>Lq: rows of the query tensor.</summary>
    public int QueryLength;

    /// <summary>Lk: rows of the key tensor.</summary>
    public int KeyLength;

    /// <summary>Head dim.</summary>
    public int HeadDim;

    /// <summary>Factor of query times key.</summary>
    public float Scale;

    /// <summary>Which layer of the model the call is for; 0 where nothing is said.</summary>
    public ushort Layer;

    /// <summary>Layers of the model; 0 where nothing is said.</summary>
    public ushort Layers;
}

/// <summary>Which tokens take part, on the device: <c>attn::TokenIndex</c> of the device code, byte for byte, 32 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct DeviceTokenIndex
{
    /// <summary>int32 [batch, query heads, capacity]: kept positions of each head, ascending.</summary>
    public nint Positions;

    /// <summary>int32 [batch, query heads]: how many there are.</summary>
    public nint KeyCount;

    /// <summary>int32 [batch, query heads]: index of the first kept position that has a query row.</summary>
    public nint QueryBegin;

    /// <summary>Elements from one head's positions to the next head's.</summary>
    public long Capacity;
}

/// <summary>A span argument of a rule, on the device: <c>attn::rules::Span</c> of the device code, byte for byte, 16 bytes.</summary>
/// <param name="Data">Device address of the first element.</param>
/// <param name="Length">Elements.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct DeviceSpan(nint Data, long Length);

/// <summary>
/// The query heads that a launch is for: <c>attn::HeadRange</c> of the device code. Heads are counted over all sequences, batch *
/// query heads + head.
/// </summary>
/// <param name="First">The first of them.</param>
/// <param name="Count">How many.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct DeviceHeadRange(int First, int Count);

/// <summary>
/// What a kernel says of its launch: <c>attn::LaunchShape</c>, exported by the emitted CUDA as <c>&lt;entry&gt;_shape</c> and
/// read after loading, so that host and device cannot disagree.
/// </summary>
/// <param name="Threads">Threads of a block.</param>
/// <param name="Tile">Rows or keys of a tile, for scopes that are cut into tiles.</param>
/// <param name="SharedBytes">Dynamic shared memory of a block.</param>
/// <param name="MainLoop">Which attention main loop it is: 80 mma.sync, 90 wgmma, 0 none.</param>
/// <param name="BoxColumns">Columns of the box of key or value that the copy engine brings; 0 where no tensor map is read.</param>
/// <param name="BoxRows">Rows of that box.</param>
/// <param name="Team">Most blocks that share a head or a sequence as one cluster; 0 and 1 say none.</param>
/// <param name="HeldKeys">Most keys that a block of a team holds in shared memory, in 4 bytes each behind SharedBytes.</param>
/// <param name="Segments">Most segments that the keys of a head are cut into, for the scope that has them; for that of query
/// tiles most blocks of a sequence, which then walk the tiles, and 0 where each block has one.</param>
/// <param name="Heads">Query heads of a key/value head that such a block takes at most; 0 says all.</param>
/// <param name="Resident">Blocks of it that a multiprocessor runs at once; 0 says one.</param>
/// <param name="Waits">1 where the kernel waits by itself for the one before it, and so may start before that one's end.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct LaunchShape(
    int Threads, int Tile, int SharedBytes, int MainLoop = 0, int BoxColumns = 0, int BoxRows = 0,
    int Team = 0, int HeldKeys = 0, int Segments = 0, int Heads = 0, int Resident = 0, int Waits = 0)
{
    /// <summary>Most dynamic shared memory that a launch may ask for, bytes.</summary>
    internal int MostSharedBytes => SharedBytes + HeldKeys * sizeof(int);
}

/// <summary>Tensor maps of key and value for the copy engine: <c>attn::TensorMaps</c> of the device code, 64-byte aligned.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct DeviceTensorMaps
{
    /// <summary>Alignment that the copy engine asks for, bytes.</summary>
    public const int Alignment = 64;

    /// <summary>Bytes of one map, opaque.</summary>
    public const int MapBytes = 128;

    internal fixed byte Key[MapBytes];
    internal fixed byte Value[MapBytes];
}
