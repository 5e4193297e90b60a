using System.Numerics.Tensors;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// The attention map of a head's last queries, summed along its columns and along its diagonals: what block selectors rank by.
/// Its softmax is causal among the rows that take part and sees the pipeline's rules. One head at a time to a worker; two passes
/// over the keys, so that memory grows with the keys alone.
/// </summary>
internal readonly unsafe struct WindowMap<T, TScore, TKernel>
    where T : unmanaged
    where TScore : struct, IScoreHook
    where TKernel : struct, IMicroKernel
{
    /// <summary>Most queries of a window.</summary>
    public const int MostQueries = 128;

    private const int Tile = IMicroKernel.TileKeys;

    private readonly CpuInputs<T> _problem;
    private readonly TScore _hook;
    private readonly int _window, _rows, _tiles;
    private readonly float* _queries;   // [workers][padded rows * dim], packed
    private readonly float* _keys;      // [workers][Tile * dim], packed
    private readonly float* _buffers;   // [workers], for the packing
    private readonly float* _scores;    // [workers][padded rows][Tile]
    private readonly float* _exponents; // [workers][tiles][padded rows]: exponentials are in units of 2^this
    private readonly float* _factors;   // [workers][tiles][padded rows]: sums, then what an exponential counts for
    private readonly float* _columns;   // [workers][keys]
    private readonly float* _slashes;   // [workers][keys]

    /// <summary>Takes the scratch memory that the problem's longest sequence may need.</summary>
    public WindowMap(in CpuInputs<T> problem, CpuExecution cpu, TScore hook, int window)
    {
        (_problem, _hook, _window) = (problem, hook, window);
        ProblemShape shape = problem.Shape;
        _rows = (window + TKernel.Rows - 1) / TKernel.Rows * TKernel.Rows;
        _tiles = (int)(((long)shape.KeyLength + Tile - 1) / Tile);
        long workers = cpu.Workers.Count;
        _queries = cpu.Scratch<float>(workers * _rows * shape.HeadDim);
        _keys = cpu.Scratch<float>(workers * Tile * shape.HeadDim);
        _buffers = cpu.Scratch<float>(workers * BufferLength);
        _scores = cpu.Scratch<float>(workers * _rows * Tile);
        _exponents = cpu.Scratch<float>(workers * _tiles * _rows);
        _factors = cpu.Scratch<float>(workers * _tiles * _rows);
        _columns = cpu.Scratch<float>(workers * shape.KeyLength);
        _slashes = cpu.Scratch<float>(workers * shape.KeyLength);
    }

    private int BufferLength => (Packing<TKernel>.BufferLength(_problem.Shape.HeadDim) + 15) / 16 * 16;

    /// <summary>
    /// Sums of one head that has a query: <paramref name="columns"/>[j] is the mean over the window's rows of the probability of
    /// key j, <paramref name="slashes"/>[o] that of the key o before the row's own. They are this worker's until its next call.
    /// </summary>
    public void Sum(in RowSet rows, int batch, int head, int worker, out Span<float> columns, out Span<float> slashes)
    {
        int keys = rows.KeyCount, window = Math.Min(_window, rows.QueryCount), dim = _problem.Shape.HeadDim;
        columns = new Span<float>(_columns + (long)worker * _problem.Shape.KeyLength, keys);
        slashes = new Span<float>(_slashes + (long)worker * _problem.Shape.KeyLength, keys);
        columns.Clear();
        slashes.Clear();
        float* queries = _queries + (long)worker * _rows * dim;
        // A rule sees scores in natural units; without one they are in powers of two from the start.
        float scale = TScore.IsIdentity ? _problem.Scale * ScoreRows.Log2E : _problem.Scale;
        int firstQuery = _problem.Sequence(batch).FirstQuery;
        for (int row = 0; row < window; row += TKernel.Rows)
        {
            Packing<TKernel>.QueryBlock(
                _problem.Query, batch, head, in rows, keys - window + row, window - row, firstQuery, scale,
                _buffers + (long)worker * BufferLength, queries + (long)row * dim);
        }
        float* exponents = _exponents + (long)worker * _tiles * _rows;
        float* factors = _factors + (long)worker * _tiles * _rows;
        int tiles = (keys + Tile - 1) / Tile;
        for (int tile = 0; tile < tiles; tile++)
        {
            Score(in rows, batch, head, worker, tile, window);
            for (int row = 0; row < window; row++)
            {
                int at = tile * _rows + row;
                exponents[at] = Exponentiate(in rows, batch, head, worker, tile, window, row, out factors[at]);
            }
        }
        Normalise(exponents, factors, tiles, window);
        for (int tile = 0; tile < tiles; tile++)
        {
            Score(in rows, batch, head, worker, tile, window);
            for (int row = 0; row < window; row++)
            {
                Exponentiate(in rows, batch, head, worker, tile, window, row, out _);
                Span<float> segment = Segment(worker, tile, row, keys - window + row, keys);
                // Slashes are summed from the longest on, as keys ascend.
                Add(segment, factors[tile * _rows + row], columns.Slice(tile * Tile, segment.Length));
                if (!segment.IsEmpty)
                    Add(segment, factors[tile * _rows + row], slashes.Slice(tile * Tile + window - 1 - row, segment.Length));
            }
        }
        slashes.Reverse();
    }

    private static void Add(ReadOnlySpan<float> values, float factor, Span<float> sums) =>
        TensorPrimitives.MultiplyAdd(values, factor, sums, sums);

    // The keys of a tile that a row sees.
    private Span<float> Segment(int worker, int tile, int row, int diagonal, int keys) => new(
        _scores + ((long)worker * _rows + row) * Tile,
        Math.Clamp(diagonal + 1 - tile * Tile, 0, Math.Min(Tile, keys - tile * Tile)));

    private void Score(in RowSet rows, int batch, int head, int worker, int tile, int window)
    {
        int dim = _problem.Shape.HeadDim, firstKey = tile * Tile, keys = Math.Min(Tile, rows.KeyCount - firstKey);
        int keyHead = head / _problem.Shape.GroupSize;
        float* packed = _keys + (long)worker * Tile * dim;
        float* queries = _queries + (long)worker * _rows * dim;
        float* scores = _scores + (long)worker * _rows * Tile;
        for (int key = 0; key < keys; key += TKernel.Columns)
        {
            Packing<TKernel>.KeyPanel(
                _problem.Key, batch, keyHead, in rows, firstKey + key, keys - key, _buffers + (long)worker * BufferLength,
                packed + key * dim);
            for (int row = 0; row < window; row += TKernel.Rows)
                TKernel.Scores(queries + (long)row * dim, packed + key * dim, dim, scores + (long)row * Tile + key);
        }
    }

    private float Exponentiate(in RowSet rows, int batch, int head, int worker, int tile, int window, int row, out float sum)
    {
        int diagonal = rows.KeyCount - window + row, firstKey = tile * Tile;
        Span<float> segment = Segment(worker, tile, row, diagonal, rows.KeyCount);
        if (!TScore.IsIdentity && !segment.IsEmpty)
        {
            var at = new ScoreSegment
            {
                Batch = batch, QueryHead = head, KeyValueHead = head / _problem.Shape.GroupSize,
                Query = rows.Position(diagonal), FirstKey = firstKey,
                Keys = rows.IsIndexed ? rows.Positions.Slice(firstKey, segment.Length) : default,
            };
            _hook.Apply(in at, segment);
        }
        return ScoreRows.Exponentiate(segment, !TScore.IsIdentity, out sum);
    }

    // Turns each tile's sums of a row into what its exponentials count for in the mean over the rows.
    private void Normalise(float* exponents, float* factors, int tiles, int window)
    {
        for (int row = 0; row < window; row++)
        {
            float largest = float.NegativeInfinity;
            for (int tile = 0; tile < tiles; tile++)
                largest = MathF.Max(largest, exponents[tile * _rows + row]);
            double sum = 0;
            for (int tile = 0; tile < tiles; tile++)
                sum += factors[tile * _rows + row] * ScoreRows.Power(exponents[tile * _rows + row], largest);
            double factor = 1 / (sum * window);
            for (int tile = 0; tile < tiles; tile++)
                factors[tile * _rows + row] = sum == 0 ? 0 : (float)(ScoreRows.Power(exponents[tile * _rows + row], largest) * factor);
        }
    }
}
