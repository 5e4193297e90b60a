using System.Numerics.Tensors;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// XAttention's choice on the CPU, one head at a time to a worker. An antidiagonal is a product over S head dims, so the
/// micro-kernels of attention compute it.
/// </summary>
internal readonly unsafe struct AntiDiagonalHeads<T, TKernel> : IHeadChoice
    where T : unmanaged
    where TKernel : struct, IMicroKernel
{
    private const int TileRows = IMicroKernel.TileQueries, TileColumns = IMicroKernel.TileKeys; // groups

    private readonly CpuInputs<T> _problem;
    private readonly BlockMask _blocks;
    private readonly int _stride, _tiles, _columns;
    private readonly double _threshold;
    private readonly float* _queries;   // [workers][TileRows * stride * dim], packed
    private readonly float* _keys;      // [workers][one panel], packed
    private readonly float* _buffers;   // [workers], for the packing
    private readonly int* _positions;   // [workers][TileRows], of one row of each group
    private readonly float* _scores;    // [workers][TileRows][TileColumns]
    private readonly float* _exponents; // [workers][tiles][TileRows]: exponentials are in units of 2^this
    private readonly float* _factors;   // [workers][tiles][TileRows]: sums, then what an exponential counts for
    private readonly float* _sums;      // [workers][TileRows][columns]: exponentials summed over key blocks
    private readonly float* _row;       // [workers][columns]: scores of one query block

    /// <summary>Takes the scratch memory of all workers.</summary>
    public AntiDiagonalHeads(in CpuInputs<T> problem, CpuExecution cpu, BlockMask blocks, AntiDiagonalAttribute stage)
    {
        (_problem, _blocks, _stride, _threshold) = (problem, blocks, stage.Stride, stage.Threshold);
        int dim = problem.Shape.HeadDim;
        long workers = cpu.Workers.Count, groups = Up(problem.Shape.KeyLength, _stride);
        _tiles = (int)((groups + TileColumns - 1) / TileColumns);
        _columns = _tiles * (TileColumns / KeyGroups);
        _queries = cpu.Scratch<float>(workers * TileRows * _stride * dim);
        _keys = cpu.Scratch<float>(workers * TKernel.Columns * _stride * dim);
        _buffers = cpu.Scratch<float>(workers * BufferLength);
        _positions = cpu.Scratch<int>(workers * Math.Max(TileRows, TKernel.Columns));
        _scores = cpu.Scratch<float>(workers * TileRows * TileColumns);
        _exponents = cpu.Scratch<float>(workers * _tiles * TileRows);
        _factors = cpu.Scratch<float>(workers * _tiles * TileRows);
        _sums = cpu.Scratch<float>(workers * TileRows * _columns);
        _row = cpu.Scratch<float>(workers * _columns);
    }

    private int KeyGroups => _blocks.BlockKey / _stride;

    private int QueryGroups => _blocks.BlockQuery / _stride;

    private int BufferLength => (Packing<TKernel>.BufferLength(_problem.Shape.HeadDim) + 15) / 16 * 16;

    /// <inheritdoc/>
    public void Choose(in RowSet rows, int batch, int head, int worker)
    {
        int groups = Up(rows.QueryCount, _stride);
        for (int first = 0; first < groups; first += TileRows)
        {
            int count = Math.Min(TileRows, groups - first);
            int tiles = Up(Visible(in rows, first + count - 1), TileColumns);
            PackQueries(in rows, batch, head, worker, first);
            for (int tile = 0; tile < tiles; tile++)
            {
                Score(in rows, batch, head, worker, tile);
                for (int row = 0; row < count; row++)
                    SumBlocks(worker, tile, row, Visible(in rows, first + row) - tile * TileColumns);
            }
            for (int row = 0; row < count; row += QueryGroups)
                Choose(in rows, batch, head, worker, (first + row) / QueryGroups, row, Math.Min(QueryGroups, count - row), tiles);
        }
    }

    private static int Up(int value, int divisor) => (int)(((long)value + divisor - 1) / divisor);

    // Groups of keys that a group of queries, or one before it, may see.
    private int Visible(in RowSet rows, int group)
    {
        int last = Math.Min((group + 1) * _stride, rows.QueryCount) - 1;
        int keys = _problem.Mask == AttentionMask.Causal ? rows.QueryBegin + last + 1 : rows.KeyCount;
        return Up(Math.Max(keys, 0), _stride);
    }

    // One row of each of some groups, as rows of their own.
    private RowSet RowsOf(in RowSet rows, int worker, int begin, int end, int first, int most)
    {
        var positions = new Span<int>(_positions + (long)worker * Math.Max(TileRows, TKernel.Columns), most);
        int count = 0;
        for (int i = begin + first; count < most && i < end; i += _stride)
            positions[count++] = rows.Position(i);
        return new RowSet(positions[..count], 0);
    }

    private void PackQueries(in RowSet rows, int batch, int head, int worker, int firstGroup)
    {
        int dim = _problem.Shape.HeadDim, length = _stride * dim;
        int begin = rows.QueryBegin + firstGroup * _stride;
        for (int s = 0; s < _stride; s++)
        {
            RowSet taken = RowsOf(in rows, worker, begin, rows.KeyCount, _stride - 1 - s, TileRows);
            for (int row = 0; row < TileRows; row += TKernel.Rows)
            {
                Packing<TKernel>.QueryBlock(
                    _problem.Query, batch, head, in taken, row, Math.Max(0, taken.KeyCount - row),
                    _problem.Sequence(batch).FirstQuery, _problem.Scale * ScoreRows.Log2E / _stride,
                    _buffers + (long)worker * BufferLength,
                    _queries + (long)worker * TileRows * length + (long)row * length + s * dim * TKernel.Rows);
            }
        }
    }

    private void Score(in RowSet rows, int batch, int head, int worker, int tile)
    {
        int dim = _problem.Shape.HeadDim, length = _stride * dim, keyHead = head / _problem.Shape.GroupSize;
        float* panel = _keys + (long)worker * TKernel.Columns * length;
        float* queries = _queries + (long)worker * TileRows * length;
        float* scores = _scores + (long)worker * TileRows * TileColumns;
        for (int column = 0; column < TileColumns; column += TKernel.Columns)
        {
            long begin = ((long)tile * TileColumns + column) * _stride;
            if (begin >= rows.KeyCount)
                break;
            for (int s = 0; s < _stride; s++)
            {
                RowSet taken = RowsOf(in rows, worker, (int)begin, rows.KeyCount, s, TKernel.Columns);
                Packing<TKernel>.KeyPanel(
                    _problem.Key, batch, keyHead, in taken, 0, taken.KeyCount, _buffers + (long)worker * BufferLength,
                    panel + s * dim * TKernel.Columns);
            }
            for (int row = 0; row < TileRows; row += TKernel.Rows)
                TKernel.Scores(queries + (long)row * length, panel, length, scores + (long)row * TileColumns + column);
        }
    }

    // Of one row and tile: exponentials of the groups that it may see, summed over key blocks.
    private void SumBlocks(int worker, int tile, int row, int visible)
    {
        var segment = new Span<float>(
            _scores + ((long)worker * TileRows + row) * TileColumns, Math.Clamp(visible, 0, TileColumns));
        long at = ((long)worker * _tiles + tile) * TileRows + row;
        _exponents[at] = ScoreRows.Exponentiate(segment, natural: false, out _factors[at]);
        int blocks = TileColumns / KeyGroups;
        Span<float> sums = Sums(worker, row).Slice(tile * blocks, blocks);
        for (int j = 0; j < blocks; j++)
        {
            int begin = Math.Min(j * KeyGroups, segment.Length), end = Math.Min(begin + KeyGroups, segment.Length);
            sums[j] = TensorPrimitives.Sum<float>(segment[begin..end]);
        }
    }

    private Span<float> Sums(int worker, int row) => new(_sums + ((long)worker * TileRows + row) * _columns, _columns);

    private void Choose(
        in RowSet rows, int batch, int head, int worker, int index, int firstRow, int groups, int tiles)
    {
        var block = new QueryBlock(in rows, _blocks, _problem.Mask, index);
        int perTile = TileColumns / KeyGroups;
        var scores = new Span<float>(_row + (long)worker * _columns, _columns);
        scores.Clear();
        for (int row = firstRow; row < firstRow + groups; row++)
        {
            Normalise(worker, row, groups, tiles);
            for (int tile = 0; tile < tiles; tile++)
            {
                Span<float> to = scores.Slice(tile * perTile, perTile);
                TensorPrimitives.MultiplyAdd(
                    Sums(worker, row).Slice(tile * perTile, perTile), _factors[((long)worker * _tiles + tile) * TileRows + row], to,
                    to);
            }
        }
        scores = scores[..block.KeyBlocks];
        Span<ulong> visit = _blocks.Visit(batch, head, index);
        if (!TensorPrimitives.IsFiniteAll<float>(scores))
        {
            BlockWords.SetRange(visit, 0, block.KeyBlocks);
            return;
        }
        ulong total = 0, forced = 0;
        for (int j = 0; j < scores.Length; j++)
        {
            ulong mass = BlockChoice.Mass(scores[j]);
            total += mass;
            if (j != 0 && !block.HoldsDiagonal(j))
                continue;
            forced += mass;
            scores[j] = 0;
            BlockWords.Set(visit, j);
        }
        ulong target = BlockChoice.Target(_threshold, total);
        BlockChoice.Mark(scores, BlockChoice.Reaching(scores, target > forced ? target - forced : 0), visit);
    }

    // Turns each tile's sums of a row into what its exponentials count for in the mean over a query block's groups.
    private void Normalise(int worker, int row, int groups, int tiles)
    {
        float* exponents = _exponents + (long)worker * _tiles * TileRows + row;
        float* factors = _factors + (long)worker * _tiles * TileRows + row;
        float largest = float.NegativeInfinity;
        for (int tile = 0; tile < tiles; tile++)
            largest = MathF.Max(largest, exponents[tile * TileRows]);
        double sum = 0;
        for (int tile = 0; tile < tiles; tile++)
            sum += factors[tile * TileRows] * ScoreRows.Power(exponents[tile * TileRows], largest);
        for (int tile = 0; tile < tiles; tile++)
            factors[tile * TileRows] =
                sum == 0 ? 0 : (float)(ScoreRows.Power(exponents[tile * TileRows], largest) / (sum * groups));
    }
}
