using System.Runtime.CompilerServices;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Cpu;

/// <summary>
/// Attends; an item is one tile of queries of one head, against all its keys. The item also writes the query rows between
/// its own that take no part, so that every output row is written by exactly one item. Items go by groups of
/// <see cref="Together"/> sources, and in a group by length.
/// </summary>
internal unsafe partial struct AttendWork<T, TOut, TRows, TBlocks, TScore, TDestination, TKernel> : ICpuWork
    where T : unmanaged
    where TOut : unmanaged
    where TRows : struct, IRowSource
    where TBlocks : struct, IKeyBlocks
    where TScore : struct, IScoreHook
    where TDestination : struct, IRowDestination
    where TKernel : struct, IMicroKernel
{
    private const float Log2E = 1.44269504f;
    private const float Ln2 = 0.693147181f;

    public required CpuProblem<T, TOut> Problem;
    public required FlashLayout Layout;
    public required TRows Rows;
    public required TBlocks Blocks;
    public required TScore Scores;
    public required TDestination Destination;
    public required int First;
    public required int Count;
    public required int Together;
    public required int QueryTiles;
    public required float* Packed;
    public required long Tiles;
    public required float* Scratch;

    public void Execute(int item, int worker)
    {
        (int group, int within) = Math.DivRem(item, QueryTiles * Together * Layout.HeadsPerSource);
        (int rank, int lane) = Math.DivRem(within, Together * Layout.HeadsPerSource);
        int source = group * Together + lane / Layout.HeadsPerSource;
        if (source >= Count)
            return;
        (int batch, int firstHead) = Layout.FirstHead(First + source);
        int head = firstHead + lane % Layout.HeadsPerSource;
        SequenceShape sequence = Problem.Inputs.Sequence(batch);
        RowSet rows = Rows.Rows(in sequence, batch, head);
        int tiles = CpuFlashAttention.Tiles(rows.QueryCount, TBlocks.TileQueries);
        int tile = tiles - 1 - rank; // under a causal mask the last tile has the most keys
        if (tile < 0)
        {
            if (rank == 0)
                Skip(batch, head, 0, Layout.Shape.QueryLength);
            return;
        }

        float* next = Scratch + worker * Layout.WorkerFloats;
        var at = new Tile
        {
            Batch = batch,
            Head = head,
            KeyHead = head / Layout.Shape.GroupSize,
            Begin = rows.QueryBegin + tile * TBlocks.TileQueries,
            Count = Math.Min(TBlocks.TileQueries, rows.QueryCount - tile * TBlocks.TileQueries),
            FirstQuery = sequence.FirstQuery,
            Packed = Packed + source * Tiles * Layout.TileFloats,
            Query = Take(ref next, Layout.QueryFloats),
            Scores = Take(ref next, FlashLayout.ScoreFloats),
            Output = Take(ref next, Layout.OutputFloats),
            Maxima = Take(ref next, Layout.StateFloats),
            Sums = Take(ref next, Layout.StateFloats),
            Factors = Take(ref next, Layout.StateFloats),
            Buffer = Take(ref next, Layout.BufferFloats),
            Columns = next,
        };
        Prepare(in at, in rows);
        bool causal = Problem.Inputs.Mask == AttentionMask.Causal;
        int keys = causal ? Math.Min(rows.KeyCount, at.Begin + at.Count) : rows.KeyCount;
        if (TBlocks.IsEvery)
        {
            for (int firstKey = 0; firstKey < keys; firstKey += IMicroKernel.TileKeys)
            {
                int count = Math.Min(IMicroKernel.TileKeys, keys - firstKey);
                RuleVerdict verdict = TScore.HasRanges ? Judge(in at, in rows, firstKey, count) : RuleVerdict.Any;
                if (verdict.CanHold)
                    Visit(in at, in rows, firstKey, count, causal, hides: verdict.CanFail);
            }
        }
        else
        {
            VisitListed(in at, in rows, keys, causal);
        }
        Finish(in at, in rows, tile == 0, tile == tiles - 1);

        static float* Take(ref float* next, int count)
        {
            float* taken = next;
            next += count;
            return taken;
        }
    }

    private void Prepare(in Tile at, in RowSet rows)
    {
        // Base 2 throughout, unless a rule wants scores in natural-log units: then the change of base follows the rule.
        float scale = Problem.Inputs.Scale * (TScore.IsIdentity ? Log2E : 1);
        for (int r = 0; r < at.Count; r += TKernel.Rows)
        {
            Packing<TKernel>.QueryBlock(
                Problem.Inputs.Query, at.Batch, at.Head, in rows, at.Begin + r, at.Count - r, at.FirstQuery, scale,
                at.Buffer, at.Query + r * Layout.Shape.HeadDim);
        }
        new Span<float>(at.Output, Layout.OutputFloats).Clear();
        new Span<float>(at.Maxima, Layout.StateFloats).Fill(float.NegativeInfinity);
        new Span<float>(at.Sums, Layout.StateFloats).Clear();
        for (int r = 0; TScore.HasSink && r < at.Count; r++)
        {
            float sink = Scores.Sink(new(at.Batch, at.Head, at.KeyHead, rows.Position(at.Begin + r), 0));
            if (float.IsNegativeInfinity(sink))
                continue;
            // As a first key, whose value is 0.
            int state = r / TKernel.Rows * TKernel.Lanes + r % TKernel.Rows;
            (at.Maxima[state], at.Sums[state]) = (sink * Log2E, 1);
        }
    }

    // What the mask rules say of the pairs of a tile. Positions ascend, whether or not rows were left out.
    private RuleVerdict Judge(in Tile at, in RowSet rows, int firstKey, int keys) => Scores.Sees(new TileRanges(
        RuleRanges.Of(at.Batch), RuleRanges.Of(at.Head), RuleRanges.Of(at.KeyHead),
        new(rows.Position(at.Begin), rows.Position(at.Begin + at.Count - 1)),
        new(rows.Position(firstKey), rows.Position(firstKey + keys - 1))));

    // Consecutive keys of one packed tile.
    private void Visit(in Tile at, in RowSet rows, int firstKey, int keys, bool causal, RunKind kind = RunKind.Whole, bool hides = true)
    {
        (int tile, int offset) = Math.DivRem(firstKey, IMicroKernel.TileKeys);
        var run = new KeyRun
        {
            Keys = at.Packed + (long)tile * Layout.TileFloats,
            Offset = offset,
            Count = keys,
            // Row r of the tile sees visible + r keys of these, or all of them without a mask.
            Visible = causal ? at.Begin - firstKey + 1 : keys,
            Step = causal ? 1 : 0,
            Kind = kind,
            Hides = hides,
            First = firstKey,
            Positions = rows.IsIndexed ? rows.Positions.Slice(firstKey, keys) : default,
        };
        Visit(in at, in rows, in run);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Visit(in Tile at, in RowSet rows, in KeyRun run)
    {
        int dim = Layout.Shape.HeadDim;
        int width = Layout.ValueWidth;
        int blocks = (at.Count + TKernel.Rows - 1) / TKernel.Rows;
        (int keys, int visible, int step) = (run.Count, run.Visible, run.Step);
        bool causal = step != 0;
        float* keyTile = run.Keys + (long)run.Offset * dim;
        float* valueTile = run.Keys + Layout.KeyFloats;

        for (int j = 0; j < keys; j += TKernel.Columns)
        {
            for (int block = FirstBlock(visible - j, causal); block < blocks; block++)
            {
                int r = block * TKernel.Rows;
                TKernel.Scores(at.Query + r * dim, keyTile + j * dim, dim, at.Scores + r * IMicroKernel.TileKeys + j);
            }
        }

        int begin = FirstBlock(visible, causal);
        for (int block = begin; block < blocks; block++)
        {
            int r = block * TKernel.Rows;
            if (!TScore.IsIdentity)
                ApplyRules(in at, in rows, in run, r);
            if (!TBlocks.IsEvery && run.Kind != RunKind.Whole)
                Hide(in at, in run, r);
            TKernel.Softmax(
                at.Scores + r * IMicroKernel.TileKeys, Limit(r, keys, visible, step), visible + r * step, step,
                at.Maxima + block * TKernel.Lanes, at.Sums + block * TKernel.Lanes, at.Factors + block * TKernel.Lanes);
        }

        for (int column = 0; column < width; column += TKernel.Columns)
        {
            bool whole = column + TKernel.Columns <= width;
            float* values = valueTile + column * IMicroKernel.TileKeys + run.Offset * (whole ? TKernel.Columns : TKernel.Lanes);
            for (int block = begin; block < blocks; block++)
            {
                int r = block * TKernel.Rows;
                float* weights = at.Scores + r * IMicroKernel.TileKeys;
                float* factors = at.Factors + block * TKernel.Lanes;
                float* output = at.Output + r * width + column;
                int limit = Limit(r, keys, visible, step);
                if (whole)
                    TKernel.Accumulate(weights, values, limit, factors, output, width);
                else
                    TKernel.AccumulateHalf(weights, values, limit, factors, output, width);
            }
        }
    }

    // The first block with a row that sees any key at all.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FirstBlock(int visible, bool causal) => causal && visible < 1 ? (1 - visible) / TKernel.Rows : 0;

    // Keys that the last row of the block at row r sees.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Limit(int r, int keys, int visible, int step) => Math.Min(keys, visible + (r + TKernel.Rows - 1) * step);

    private void ApplyRules(in Tile at, in RowSet rows, in KeyRun run, int begin)
    {
        int end = Math.Min(begin + TKernel.Rows, at.Count);
        for (int r = begin; r < end; r++)
        {
            int count = Math.Min(run.Count, run.Visible + r * run.Step);
            if (count <= 0)
                continue;
            float* row = at.Scores + r * IMicroKernel.TileKeys;
            var segment = new ScoreSegment
            {
                Batch = at.Batch,
                QueryHead = at.Head,
                KeyValueHead = at.KeyHead,
                Query = rows.Position(at.Begin + r),
                FirstKey = run.First,
                Keys = run.Positions.IsEmpty ? default : run.Positions[..count],
            };
            if (!TScore.OnlyMasks || run.Hides)
                Scores.Apply(in segment, new Span<float>(row, count));
            TKernel.Multiply(row, count, Log2E);
        }
    }

    private void Finish(in Tile at, in RowSet rows, bool isFirst, bool isLast)
    {
        int dim = Layout.Shape.HeadDim;
        int next = isFirst ? 0 : rows.Position(at.Begin) - at.FirstQuery;
        for (int r = 0; r < at.Count; r++)
        {
            int row = rows.Position(at.Begin + r) - at.FirstQuery;
            Skip(at.Batch, at.Head, next, row);
            next = row + 1;
            int state = r / TKernel.Rows * TKernel.Lanes + r % TKernel.Rows;
            float sum = at.Sums[state];
            float* result = at.Output + r * Layout.ValueWidth;
            if (sum == 0)
                new Span<float>(result, dim).Clear();
            else
                TKernel.Divide(result, dim, sum, result);
            Destination.Store(new ReadOnlySpan<float>(result, dim), Problem.Output.Row(at.Batch, at.Head, row));
            if (Problem.WantsLogSumExp)
            {
                float value = sum == 0 ? float.NegativeInfinity : (at.Maxima[state] + MathF.Log2(sum)) * Ln2;
                Problem.SetLogSumExp(at.Batch, at.Head, row, value);
            }
        }
        int end = isLast ? Layout.Shape.QueryLength : rows.Position(at.Begin + at.Count) - at.FirstQuery;
        Skip(at.Batch, at.Head, next, end);
    }

    private void Skip(int batch, int head, int begin, int end)
    {
        for (int row = begin; row < end; row++)
        {
            Destination.Skip(Problem.Output.Row(batch, head, row));
            Problem.SetLogSumExp(batch, head, row, float.NegativeInfinity);
        }
    }

    /// <summary>One tile of queries: where it stands and a worker's memory for it.</summary>
    private struct Tile
    {
        public int Batch, Head, KeyHead;
        public int Begin, Count; // in rows that take part
        public int FirstQuery;
        public float* Packed;
        public float* Query, Scores, Output, Maxima, Sums, Factors, Buffer, Columns;
    }

    /// <summary>Keys that are visited together: some of a packed tile.</summary>
    private ref struct KeyRun
    {
        public float* Keys; // the packed tile, its values behind them
        public int Offset, Count; // in the tile
        public int Visible, Step; // row r sees Visible + r * Step of them
        public RunKind Kind;
        public bool Hides; // whether mask rules may hide some of them
        public int First; // the first one's number among the rows that take part
        public ReadOnlySpan<int> Positions; // in the original sequence; empty where they are consecutive
        public int* Numbers; // of columns, among the rows that take part
    }

    /// <summary>What decides which pairs of a run count, beside the mask.</summary>
    private enum RunKind
    {
        Whole,
        Columns,
        Slashes,
    }
}
