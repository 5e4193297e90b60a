using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Cpu;

/// <summary>
/// The attention loop on the CPU. Keys and values are packed once for all query heads that see the same rows, then tiles of
/// queries are handed to the workers, the longest first.
/// </summary>
internal static unsafe class CpuFlashAttention
{
    /// <summary>Packed keys and values held at a time, unless one head alone needs more.</summary>
    private const long DefaultPackedBytes = 256L << 20;

    private const int WorkersPerSource = 4;

    [ThreadStatic]
    private static long s_packedBytes;

    /// <summary>For tests: another bound for calls from this thread, 0 for the usual one.</summary>
    internal static void ForcePackedBytes(long bytes) => s_packedBytes = bytes;

    public static void Run<T, TOut, TRows, TBlocks, TScore, TDestination, TKernel>(
        in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows, TBlocks blocks, TScore scores, TDestination destination)
        where T : unmanaged
        where TOut : unmanaged
        where TRows : struct, IRowSource
        where TBlocks : struct, IKeyBlocks
        where TScore : struct, IScoreHook
        where TDestination : struct, IRowDestination
        where TKernel : struct, IMicroKernel
    {
        var layout = FlashLayout.Of<TKernel>(problem.Shape, TRows.DiffersByQueryHead, blocks.HasColumns);
        int sources = problem.Shape.Batch * layout.SourcesPerSequence;

        long largestKeys = 0;
        for (int source = 0; source < sources; source++)
            largestKeys = Math.Max(largestKeys, KeyTiles(in problem, in layout, rows, source));
        long sourceBytes = largestKeys * layout.TileFloats * sizeof(float);
        long bound = s_packedBytes != 0 ? s_packedBytes : DefaultPackedBytes;
        int together = (int)Math.Clamp(bound / Math.Max(1, sourceBytes), 1, sources);

        // A few workers on one source share its packed form in the last-level cache, which seldom holds that of all sources.
        int shared = Math.Min(together, (cpu.Workers.Count + WorkersPerSource - 1) / WorkersPerSource);

        float* packed = cpu.Scratch<float>(together * largestKeys * layout.TileFloats);
        float* scratch = cpu.Scratch<float>(cpu.Workers.Count * layout.WorkerFloats);
        for (int first = 0; first < sources; first += together)
        {
            int count = Math.Min(together, sources - first);
            int keyTiles = 0, queryTiles = 1;
            for (int source = first; source < first + count; source++)
            {
                keyTiles = Math.Max(keyTiles, KeyTiles(in problem, in layout, rows, source));
                queryTiles = Math.Max(queryTiles, QueryTiles(in problem, in layout, rows, source, TBlocks.TileQueries));
            }
            var pack = new PackWork<T, TRows, TKernel>
            {
                Inputs = problem.Inputs,
                Layout = layout,
                Rows = rows,
                First = first,
                Count = count,
                Packed = packed,
                Tiles = largestKeys,
                Scratch = scratch,
            };
            cpu.Workers.Run(ref pack, checked(keyTiles * count));
            var attend = new AttendWork<T, TOut, TRows, TBlocks, TScore, TDestination, TKernel>
            {
                Problem = problem,
                Layout = layout,
                Rows = rows,
                Blocks = blocks,
                Scores = scores,
                Destination = destination,
                First = first,
                Count = count,
                Together = shared,
                QueryTiles = queryTiles,
                Packed = packed,
                Tiles = largestKeys,
                Scratch = scratch,
            };
            int groups = (count + shared - 1) / shared;
            cpu.Workers.Run(ref attend, checked(groups * shared * queryTiles * layout.HeadsPerSource));
        }
    }

    private static int KeyTiles<T, TOut, TRows>(in CpuProblem<T, TOut> problem, in FlashLayout layout, TRows rows, int source)
        where T : unmanaged
        where TOut : unmanaged
        where TRows : struct, IRowSource
    {
        (int batch, int head) = layout.FirstHead(source);
        return Tiles(rows.Rows(problem.Inputs.Sequence(batch), batch, head).KeyCount, IMicroKernel.TileKeys);
    }

    private static int QueryTiles<T, TOut, TRows>(
        in CpuProblem<T, TOut> problem, in FlashLayout layout, TRows rows, int source, int tileQueries)
        where T : unmanaged
        where TOut : unmanaged
        where TRows : struct, IRowSource
    {
        (int batch, int head) = layout.FirstHead(source);
        return Tiles(rows.Rows(problem.Inputs.Sequence(batch), batch, head).QueryCount, tileQueries);
    }

    internal static int Tiles(int rows, int tile) => (rows + tile - 1) / tile;
}

/// <summary>
/// Sizes of the packed form. A <em>source</em> is what shares packed keys and values: a key/value head of a sequence, or a
/// query head where each sees rows of its own.
/// </summary>
internal readonly struct FlashLayout
{
    private FlashLayout(in ProblemShape shape, bool differs, bool hasColumns, int valueWidth, int bufferLength, int lanes, int rows)
    {
        Shape = shape;
        SourcesPerSequence = differs ? shape.QueryHeads : shape.KeyValueHeads;
        HeadsPerSource = differs ? 1 : shape.GroupSize;
        ValueWidth = valueWidth;
        KeyFloats = IMicroKernel.TileKeys * shape.HeadDim;
        TileFloats = KeyFloats + IMicroKernel.TileKeys * valueWidth;
        QueryFloats = IMicroKernel.TileQueries * shape.HeadDim;
        OutputFloats = IMicroKernel.TileQueries * valueWidth;
        StateFloats = IMicroKernel.TileQueries / rows * lanes;
        BufferFloats = (bufferLength + 15) / 16 * 16;
        ColumnFloats = hasColumns ? TileFloats + 2 * IMicroKernel.TileKeys : 0;
    }

    public ProblemShape Shape { get; }

    public int SourcesPerSequence { get; }

    public int HeadsPerSource { get; }

    /// <summary>Columns of a packed value row and of an output row.</summary>
    public int ValueWidth { get; }

    /// <summary>Packed keys of a tile; its values follow.</summary>
    public int KeyFloats { get; }

    /// <summary>Packed keys and values of a tile.</summary>
    public int TileFloats { get; }

    public int QueryFloats { get; }

    public int OutputFloats { get; }

    /// <summary>Maxima, sums or factors of a query tile: a vector for each block.</summary>
    public int StateFloats { get; }

    /// <summary>Conversion buffer.</summary>
    public int BufferFloats { get; }

    /// <summary>A packed tile of columns, their numbers and positions; 0 where there are none.</summary>
    public int ColumnFloats { get; }

    public static int ScoreFloats => IMicroKernel.TileQueries * IMicroKernel.TileKeys;

    public long WorkerFloats => (long)QueryFloats + OutputFloats + ScoreFloats + 3 * StateFloats + BufferFloats + ColumnFloats;

    public static FlashLayout Of<TKernel>(in ProblemShape shape, bool differs, bool hasColumns) where TKernel : struct, IMicroKernel =>
        new(in shape, differs, hasColumns, Packing<TKernel>.ValueWidth(shape.HeadDim), Packing<TKernel>.BufferLength(shape.HeadDim) + 16,
            TKernel.Lanes, TKernel.Rows);

    /// <summary>The sequence and first query head of a source.</summary>
    public (int Batch, int Head) FirstHead(int source) =>
        (source / SourcesPerSequence, source % SourcesPerSequence * HeadsPerSource);
}

/// <summary>Packs keys and values; an item is one key tile of one source.</summary>
internal unsafe struct PackWork<T, TRows, TKernel> : ICpuWork
    where T : unmanaged
    where TRows : struct, IRowSource
    where TKernel : struct, IMicroKernel
{
    public required CpuInputs<T> Inputs;
    public required FlashLayout Layout;
    public required TRows Rows;
    public required int First;
    public required int Count;
    public required float* Packed;
    public required long Tiles;
    public required float* Scratch;

    public void Execute(int item, int worker)
    {
        int source = item % Count;
        int first = item / Count * IMicroKernel.TileKeys;
        (int batch, int head) = Layout.FirstHead(First + source);
        RowSet rows = Rows.Rows(Inputs.Sequence(batch), batch, head);
        int keys = Math.Min(IMicroKernel.TileKeys, rows.KeyCount - first);
        if (keys <= 0)
            return;
        int keyHead = head / Layout.Shape.GroupSize;
        float* tile = Packed + (source * Tiles + item / Count) * Layout.TileFloats;
        float* buffer = Scratch + worker * Layout.WorkerFloats;
        for (int j = 0; j < keys; j += TKernel.Columns)
        {
            Packing<TKernel>.KeyPanel(
                Inputs.Key, batch, keyHead, in rows, first + j, keys - j, buffer, tile + j * Layout.Shape.HeadDim);
        }
        Packing<TKernel>.ValueTile(Inputs.Value, batch, keyHead, in rows, first, keys, buffer, tile + Layout.KeyFloats);
    }
}
