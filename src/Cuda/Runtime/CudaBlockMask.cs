using System.Runtime.InteropServices;

namespace AttnCompose.Cuda;

/// <summary>
/// Which key blocks are visited, on the device: <c>attn::BlockList</c> of the device code, byte for byte, 96 bytes.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct DeviceBlockList
{
    /// <summary>uint64 [rows, query blocks, words]: key blocks that a query block visits. A row is a head of a sequence.</summary>
    public nint Visit;

    /// <summary>uint64 [rows, query blocks, words]: those in which the mask rule decides pair by pair.</summary>
    public nint Partial;

    /// <summary>int32 [rows, column capacity], ascending; 0 where there are none.</summary>
    public nint Columns;

    /// <summary>int32 [rows]; 0 where there are none.</summary>
    public nint ColumnCount;

    /// <summary>uint64 [rows, slash words]; 0 where there are none.</summary>
    public nint Slashes;

    /// <summary>Query blocks of a row.</summary>
    public int QueryBlocks;

    /// <summary>Words of a query block.</summary>
    public int Words;

    /// <summary>Elements from one row's columns to the next row's.</summary>
    public int ColumnCapacity;

    /// <summary>Words of a row's slashes.</summary>
    public int SlashWords;

    /// <summary>Rows from one sequence to the next; 0 where one serves all.</summary>
    public int BatchRows;

    /// <summary>Rows from one query head to the next; 0 where one serves all.</summary>
    public int HeadRows;

    /// <summary>Query heads for which a block selector chooses every block and nothing beside them.</summary>
    public HeadSet DenseHeads;
}

/// <summary>
/// A block list in device memory: <see cref="BlockMask"/>'s counterpart. Give one to a pipeline that takes the caller's list, or
/// pass one to have what a block selector chose.
/// </summary>
public sealed class CudaBlockMask : IDisposable
{
    /// <summary>Memory for a problem, not cleared.</summary>
    /// <param name="device">The device.</param>
    /// <param name="batch">Sequences, or 1 for any number of them with one list.</param>
    /// <param name="queryHeads">Query heads, or 1 for any number of them with one list.</param>
    /// <param name="queryLength">Lq.</param>
    /// <param name="keyLength">Lk.</param>
    /// <param name="blockQuery">Queries of a block.</param>
    /// <param name="blockKey">Keys of a block.</param>
    /// <param name="columns">Whether there are columns beside the blocks.</param>
    /// <param name="slashes">Whether there are slashes beside the blocks.</param>
    public CudaBlockMask(
        CudaDevice device, int batch, int queryHeads, int queryLength, int keyLength, int blockQuery, int blockKey,
        bool columns = false, bool slashes = false)
    {
        Shape = new(batch, queryHeads, queryLength, keyLength, blockQuery, blockKey, columns, slashes);
        var sizes = new BlockListSizes(Shape);
        Visit = CudaTensor.Allocate<ulong>(device, batch, queryHeads, sizes.QueryBlocks, sizes.Words);
        Partial = CudaTensor.Allocate<ulong>(device, batch, queryHeads, sizes.QueryBlocks, sizes.Words);
        if (columns)
        {
            Columns = CudaTensor.Allocate<int>(device, batch, queryHeads, keyLength);
            ColumnCounts = CudaTensor.Allocate<int>(device, batch, queryHeads);
        }
        if (slashes)
            Slashes = CudaTensor.Allocate<ulong>(device, batch, queryHeads, sizes.SlashWords);
    }

    /// <summary>[batch, query heads, query blocks, words]: one bit for each key block that a query block visits.</summary>
    public CudaTensor<ulong> Visit { get; }

    /// <summary>[batch, query heads, query blocks, words]: those in which the mask rule decides pair by pair.</summary>
    public CudaTensor<ulong> Partial { get; }

    /// <summary>[batch, query heads, Lk], ascending; what follows the last one has no meaning. Null where there are none.</summary>
    public CudaTensor<int>? Columns { get; }

    /// <summary>[batch, query heads]; null where there are no columns.</summary>
    public CudaTensor<int>? ColumnCounts { get; }

    /// <summary>[batch, query heads, words]: bit o for the keys o before each query; null where there are none.</summary>
    public CudaTensor<ulong>? Slashes { get; }

    internal BlockListShape Shape { get; }

    internal DeviceBlockList List => new BlockListSizes(Shape).List(
        Visit.Pointer, Partial.Pointer, Columns?.Pointer ?? 0, ColumnCounts?.Pointer ?? 0, Slashes?.Pointer ?? 0);

    /// <summary>A copy of a list in host memory.</summary>
    public static CudaBlockMask From(CudaDevice device, BlockMask mask, CudaStream? stream = null)
    {
        ArgumentNullException.ThrowIfNull(mask);
        var copy = new CudaBlockMask(
            device, mask.Batch, mask.QueryHeads, mask.QueryLength, mask.KeyLength, mask.BlockQuery, mask.BlockKey,
            mask.HasColumns, mask.HasSlashes);
        copy.CopyFrom(mask, stream);
        return copy;
    }

    /// <summary>Copies a list of the same sizes from the host and waits until it is there.</summary>
    /// <exception cref="ArgumentException">The sizes differ.</exception>
    public void CopyFrom(BlockMask mask, CudaStream? stream = null)
    {
        ArgumentNullException.ThrowIfNull(mask);
        BlockListShape shape = ArgumentChecks.ShapeOf(mask);
        if (shape != Shape)
            throw new ArgumentException($"The list is made for {shape}; this one for {Shape}.", nameof(mask));
        Visit.CopyFrom(mask.VisitWords, stream);
        Partial.CopyFrom(mask.PartialWords, stream);
        Columns?.CopyFrom(mask.AllColumns, stream);
        ColumnCounts?.CopyFrom(mask.ColumnCounts, stream);
        Slashes?.CopyFrom(mask.AllSlashes, stream);
    }

    /// <summary>Copies the list to the host, behind all work put on the stream.</summary>
    public void CopyTo(BlockMask mask, CudaStream? stream = null)
    {
        ArgumentNullException.ThrowIfNull(mask);
        mask.Reset(
            Shape.Batch, Shape.QueryHeads, Shape.QueryLength, Shape.KeyLength, Shape.BlockQuery, Shape.BlockKey, Shape.HasColumns,
            Shape.HasSlashes);
        Visit.CopyTo(mask.VisitWords, stream);
        Partial.CopyTo(mask.PartialWords, stream);
        Columns?.CopyTo(mask.AllColumns, stream);
        ColumnCounts?.CopyTo(mask.ColumnCounts, stream);
        Slashes?.CopyTo(mask.AllSlashes, stream);
        foreach (int count in mask.ColumnCounts)
        {
            if (count < 0 || count > Shape.KeyLength)
                throw new InvalidOperationException($"The device says that a head has {count} columns; there are {Shape.KeyLength} keys.");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Visit.Dispose();
        Partial.Dispose();
        Columns?.Dispose();
        ColumnCounts?.Dispose();
        Slashes?.Dispose();
    }
}

/// <summary>How much memory the parts of a block list take.</summary>
internal readonly struct BlockListSizes(BlockListShape shape)
{
    private const int WordBits = 64;

    public int QueryBlocks => Divide(shape.QueryLength, shape.BlockQuery);

    public int Words => Divide(Divide(shape.KeyLength, shape.BlockKey), WordBits);

    public int SlashWords => shape.HasSlashes ? Divide(shape.KeyLength, WordBits) : 0;

    /// <summary>Bytes of one of the two bitmaps.</summary>
    public long BitmapBytes => checked(Rows * QueryBlocks * Words * sizeof(ulong));

    public long ColumnBytes => shape.HasColumns ? checked(Rows * shape.KeyLength * sizeof(int)) : 0;

    public long ColumnCountBytes => shape.HasColumns ? Rows * sizeof(int) : 0;

    public long SlashBytes => Rows * SlashWords * sizeof(ulong);

    private long Rows => (long)shape.Batch * shape.QueryHeads;

    public DeviceBlockList List(nint visit, nint partial, nint columns, nint columnCount, nint slashes) => new()
    {
        Visit = visit,
        Partial = partial,
        Columns = shape.HasColumns ? columns : 0,
        ColumnCount = shape.HasColumns ? columnCount : 0,
        Slashes = shape.HasSlashes ? slashes : 0,
        QueryBlocks = QueryBlocks,
        Words = Words,
        ColumnCapacity = shape.KeyLength,
        SlashWords = SlashWords,
        BatchRows = shape.Batch == 1 ? 0 : shape.QueryHeads,
        HeadRows = shape.QueryHeads == 1 ? 0 : 1,
    };

    private static int Divide(int value, int divisor) => (int)(((long)value + divisor - 1) / divisor);
}
