using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Cpu;

// The walk over a block list. Blocks begin at multiples of 64 keys, a multiple of every kernel's panel, so that any of them can
// be visited inside a packed tile.
internal unsafe partial struct AttendWork<T, TOut, TRows, TBlocks, TScore, TDestination, TKernel>
{
    private void VisitListed(in Tile at, in RowSet rows, int keys, bool causal)
    {
        BlockMask mask = Blocks.Mask;
        int queryBlock = (at.Begin - rows.QueryBegin) / mask.BlockQuery;
        for (int firstKey = 0; firstKey < keys; firstKey += IMicroKernel.TileKeys)
        {
            int end = Math.Min(firstKey + IMicroKernel.TileKeys, keys);
            for (int begin = firstKey, stop; begin < end; begin = stop)
            {
                // A run of blocks that are all visited, or all not.
                bool visited = mask.Visits(at.Batch, at.Head, queryBlock, begin / mask.BlockKey);
                stop = begin;
                do
                    stop = Math.Min(end, (stop / mask.BlockKey + 1) * mask.BlockKey);
                while (stop < end && mask.Visits(at.Batch, at.Head, queryBlock, stop / mask.BlockKey) == visited);
                if (visited)
                    Visit(in at, in rows, begin, stop - begin, causal);
                else if (AnySlash(in at, begin, stop))
                    Visit(in at, in rows, begin, stop - begin, causal, RunKind.Slashes);
            }
        }
        if (mask.HasColumns)
            VisitColumns(in at, in rows, queryBlock, keys);
    }

    /// <summary>Columns that no visited block holds, packed for this tile alone.</summary>
    private void VisitColumns(in Tile at, in RowSet rows, int queryBlock, int keys)
    {
        BlockMask mask = Blocks.Mask;
        var numbers = (int*)(at.Columns + Layout.TileFloats);
        int* positions = numbers + IMicroKernel.TileKeys;
        ReadOnlySpan<int> columns = mask.Columns(at.Batch, at.Head);
        for (int next = 0; next < columns.Length;)
        {
            int count = 0;
            for (; next < columns.Length && count < IMicroKernel.TileKeys; next++)
            {
                int key = columns[next];
                if (key < keys && !mask.Visits(at.Batch, at.Head, queryBlock, key / mask.BlockKey))
                    (numbers[count], positions[count++]) = (key, rows.Position(key));
            }
            if (count == 0)
                return;
            var packed = new RowSet(new ReadOnlySpan<int>(positions, count), 0);
            for (int j = 0; j < count; j += TKernel.Columns)
            {
                Packing<TKernel>.KeyPanel(
                    Problem.Inputs.Key, at.Batch, at.KeyHead, in packed, j, count - j, at.Buffer,
                    at.Columns + j * Layout.Shape.HeadDim);
            }
            Packing<TKernel>.ValueTile(
                Problem.Inputs.Value, at.Batch, at.KeyHead, in packed, 0, count, at.Buffer, at.Columns + Layout.KeyFloats);
            var run = new KeyRun
            {
                Keys = at.Columns,
                Count = count,
                Visible = count,
                Kind = RunKind.Columns,
                Hides = true,
                Positions = packed.Positions,
                Numbers = numbers,
            };
            Visit(in at, in rows, in run);
        }
    }

    /// <summary>
    /// -inf for what does not count in a block of rows: columns behind the diagonal, or that a slash brings too, and keys that no
    /// slash brings. After the rules, which may make any number of a score.
    /// </summary>
    private void Hide(in Tile at, in KeyRun run, int begin)
    {
        BlockMask mask = Blocks.Mask;
        bool causal = Problem.Inputs.Mask == AttentionMask.Causal;
        int end = Math.Min(begin + TKernel.Rows, at.Count);
        for (int r = begin; r < end; r++)
        {
            float* row = at.Scores + r * IMicroKernel.TileKeys;
            int diagonal = at.Begin + r;
            for (int j = 0; j < run.Count; j++)
            {
                int key = run.Kind == RunKind.Columns ? run.Numbers[j] : run.First + j;
                bool onSlash = mask.HasSlash(at.Batch, at.Head, diagonal - key);
                bool counts = run.Kind == RunKind.Columns ? !onSlash && (!causal || key <= diagonal) : onSlash;
                if (!counts)
                    row[j] = float.NegativeInfinity;
            }
        }
    }

    private bool AnySlash(in Tile at, int begin, int end)
    {
        if (!Blocks.Mask.HasSlashes)
            return false;
        int last = at.Begin + at.Count - 1 - begin;
        for (int offset = Math.Max(0, at.Begin - (end - 1)); offset <= last; offset++)
        {
            if (Blocks.Mask.HasSlash(at.Batch, at.Head, offset))
                return true;
        }
        return false;
    }
}
