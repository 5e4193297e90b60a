using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// Raw scores of one sequence at a time: the mean probability that the last queries give each prefix token. Exponentials
/// are taken once, relative to the row's maximum within a tile of keys, and kept until the row's sum over all keys is known.
/// They are relative to a whole power of two, so changing tiles rounds nothing: equal keys get equal scores wherever they
/// stand. Tiles and their order are fixed, so the result does not depend on the workers.
/// </summary>
internal unsafe struct TokenScorer<T, TScore, TKernel>
    where T : unmanaged
    where TScore : struct, IScoreHook
    where TKernel : struct, IMicroKernel
{
    private const int Tile = IMicroKernel.TileKeys;
    private const int RowRun = 16; // rows that one item normalises
    private const long MaxKeptExponentials = 1L << 22; // 16 MiB stay in the last-level cache; fewer heads at once beyond that

    private readonly CpuInputs<T> _problem;
    private readonly CpuWorkers _workers;
    private readonly TScore _hook;
    private readonly int _window;
    private readonly int _headsAtOnce;
    private readonly float* _queries;      // [heads at once][packed rows * dim]
    private readonly float* _keys;         // [workers][Tile * dim], packed
    private readonly float* _buffers;      // [workers], for the packing
    private readonly float* _exponentials; // [heads at once][tiles][rows][Tile]
    private readonly float* _exponents;    // [heads at once][tiles][rows]: exponentials are in units of 2^this
    private readonly float* _sums;         // [heads at once][tiles][rows]; in the end the factors of the exponentials

    /// <summary>Takes the scratch memory that the problem's longest sequence may need.</summary>
    public TokenScorer(in CpuInputs<T> problem, CpuExecution cpu, TScore hook, int window)
    {
        ProblemShape shape = problem.Shape;
        (_problem, _workers, _hook, _window) = (problem, cpu.Workers, hook, window);
        long rows = RowsPadded(Math.Min(window, shape.QueryLength));
        long tiles = Tiles(shape.KeyLength);
        long perHead = Math.Max(1, tiles * rows * Tile);
        _headsAtOnce = (int)Math.Clamp(MaxKeptExponentials / perHead, 1, Math.Max(1, shape.QueryHeads));
        _queries = cpu.Scratch<float>(_headsAtOnce * rows * shape.HeadDim);
        _keys = cpu.Scratch<float>((long)_workers.Count * Tile * shape.HeadDim);
        _buffers = cpu.Scratch<float>((long)_workers.Count * BufferLength(shape.HeadDim));
        _exponentials = cpu.Scratch<float>(_headsAtOnce * perHead);
        _exponents = cpu.Scratch<float>(_headsAtOnce * tiles * rows);
        _sums = cpu.Scratch<float>(_headsAtOnce * tiles * rows);
    }

    /// <summary>Writes the raw scores [query heads, Lk - Window] of one sequence, which has a query and a prefix.</summary>
    public readonly void Score(int batch, float* raw)
    {
        SequenceShape sequence = _problem.Sequence(batch);
        Score(batch, in sequence, sequence.KeyLength - _window, raw);
    }

    /// <summary>
    /// Writes the raw scores [query heads, count] of the first keys of a sequence, or of its beginning: its last queries are those
    /// that score.
    /// </summary>
    public readonly void Score(int batch, in SequenceShape sequence, int count, float* raw)
    {
        ProblemShape shape = _problem.Shape;
        int group = shape.GroupSize;
        int rows = Math.Min(_window, sequence.QueryLength);
        for (int head = 0, some; head < shape.QueryHeads; head += some)
        {
            some = _headsAtOnce >= group
                ? Math.Min(_headsAtOnce - _headsAtOnce % group, shape.QueryHeads - head)
                : Math.Min(_headsAtOnce, group - head % group);
            var pass = new Pass
            {
                Scorer = this,
                Batch = batch,
                Sequence = sequence,
                FirstHead = head,
                Heads = some,
                Group = Math.Min(group, some),
                Rows = rows,
                RowsPadded = RowsPadded(rows),
                Tiles = (int)Tiles(sequence.KeyLength),
                Prefix = count,
                Raw = raw,
            };
            var pack = new PackQueries { Pass = pass };
            _workers.Run(ref pack, some);
            var exponentiate = new Exponentiate { Pass = pass };
            _workers.Run(ref exponentiate, some / pass.Group * pass.Tiles);
            var normalise = new Normalise { Pass = pass };
            _workers.Run(ref normalise, some * ((rows + RowRun - 1) / RowRun));
            var sum = new SumColumns { Pass = pass };
            _workers.Run(ref sum, some * pass.Tiles);
        }
    }

    private static int RowsPadded(int rows) => (rows + TKernel.Rows - 1) / TKernel.Rows * TKernel.Rows;

    private static int BufferLength(int dim) => (Packing<TKernel>.BufferLength(dim) + 15) / 16 * 16;

    private static long Tiles(int keys) => ((long)keys + Tile - 1) / Tile;

    /// <summary>One set of heads of one sequence.</summary>
    private struct Pass
    {
        public required TokenScorer<T, TScore, TKernel> Scorer;
        public required int Batch;
        public required SequenceShape Sequence;
        public required int FirstHead;
        public required int Heads;
        public required int Group;
        public required int Rows;
        public required int RowsPadded;
        public required int Tiles;
        public required int Prefix;
        public required float* Raw;

        public readonly float* Queries(int head) => Scorer._queries + (long)head * RowsPadded * Scorer._problem.Shape.HeadDim;

        public readonly float* Exponentials(int head, int tile) =>
            Scorer._exponentials + ((long)head * Tiles + tile) * RowsPadded * Tile;

        public readonly long Statistics(int head, int tile) => ((long)head * Tiles + tile) * RowsPadded;
    }

    /// <summary>Queries of a head, scaled, in the order in which the tile product reads them.</summary>
    private struct PackQueries : ICpuWork
    {
        public required Pass Pass;

        public readonly void Execute(int item, int worker)
        {
            ref readonly CpuInputs<T> problem = ref Pass.Scorer._problem;
            int dim = problem.Shape.HeadDim;
            // A rule sees scores in natural units; without one they are in powers of two from the start.
            float scale = TScore.IsIdentity ? problem.Scale * ScoreRows.Log2E : problem.Scale;
            var rows = new RowSet(in Pass.Sequence);
            float* buffer = Pass.Scorer._buffers + (long)worker * BufferLength(dim);
            int first = Pass.Sequence.KeyLength - Pass.Rows;
            for (int row = 0; row < Pass.Rows; row += TKernel.Rows)
            {
                Packing<TKernel>.QueryBlock(
                    problem.Query, Pass.Batch, Pass.FirstHead + item, in rows, first + row, Pass.Rows - row,
                    Pass.Sequence.FirstQuery, scale, buffer, Pass.Queries(item) + (long)row * dim);
            }
        }
    }

    /// <summary>Scores of a tile of keys for all query heads of a group; leaves exponentials, their units and row sums.</summary>
    private struct Exponentiate : ICpuWork
    {
        public required Pass Pass;

        public readonly void Execute(int item, int worker)
        {
            ref readonly CpuInputs<T> problem = ref Pass.Scorer._problem;
            int dim = problem.Shape.HeadDim;
            int tile = item % Pass.Tiles;
            int firstHead = item / Pass.Tiles * Pass.Group;
            int keyValueHead = (Pass.FirstHead + firstHead) / problem.Shape.GroupSize;
            int firstKey = tile * Tile;
            int keys = Math.Min(Tile, Pass.Sequence.KeyLength - firstKey);
            float* packed = Pass.Scorer._keys + (long)worker * Tile * dim;
            float* buffer = Pass.Scorer._buffers + (long)worker * BufferLength(dim);
            var rows = new RowSet(in Pass.Sequence);
            for (int key = 0; key < keys; key += TKernel.Columns)
            {
                Packing<TKernel>.KeyPanel(
                    problem.Key, Pass.Batch, keyValueHead, in rows, firstKey + key, keys - key, buffer, packed + key * dim);
            }
            for (int head = firstHead; head < firstHead + Pass.Group; head++)
            {
                float* scores = Pass.Exponentials(head, tile);
                for (int key = 0; key < keys; key += TKernel.Columns)
                {
                    for (int row = 0; row < Pass.Rows; row += TKernel.Rows)
                    {
                        float* block = Pass.Queries(head) + (long)row * dim;
                        TKernel.Scores(block, packed + key * dim, dim, scores + (long)row * Tile + key);
                    }
                }
                long statistics = Pass.Statistics(head, tile);
                for (int row = 0; row < Pass.Rows; row++)
                {
                    int query = Pass.Sequence.KeyLength - Pass.Rows + row;
                    var segment = new Span<float>(scores + (long)row * Tile, Math.Clamp(query + 1 - firstKey, 0, keys));
                    if (!TScore.IsIdentity && segment.Length > 0)
                    {
                        var at = new ScoreSegment
                        {
                            Batch = Pass.Batch, QueryHead = Pass.FirstHead + head, KeyValueHead = keyValueHead,
                            Query = query, FirstKey = firstKey,
                        };
                        Pass.Scorer._hook.Apply(in at, segment);
                    }
                    new Span<float>(scores + (long)row * Tile + segment.Length, keys - segment.Length).Clear();
                    float exponent = ScoreRows.Exponentiate(segment, !TScore.IsIdentity, out float sum);
                    Pass.Scorer._exponents[statistics + row] = exponent;
                    Pass.Scorer._sums[statistics + row] = sum;
                }
            }
        }
    }

    /// <summary>Joins the tiles of a head: what each tile's exponentials of a row count for in the mean probability.</summary>
    private struct Normalise : ICpuWork
    {
        public required Pass Pass;

        public readonly void Execute(int item, int worker)
        {
            int head = item % Pass.Heads;
            int begin = item / Pass.Heads * RowRun;
            for (int row = begin; row < Math.Min(begin + RowRun, Pass.Rows); row++)
            {
                float* exponents = Pass.Scorer._exponents + Pass.Statistics(head, 0);
                float* sums = Pass.Scorer._sums + Pass.Statistics(head, 0);
                long end = (long)Pass.Tiles * Pass.RowsPadded;
                float largest = float.NegativeInfinity;
                for (long i = row; i < end; i += Pass.RowsPadded)
                    largest = MathF.Max(largest, exponents[i]);
                double sum = 0;
                for (long i = row; i < end; i += Pass.RowsPadded)
                    sum += sums[i] * Power(exponents[i], largest);
                double factor = 1 / (sum * Pass.Rows);
                for (long i = row; i < end; i += Pass.RowsPadded)
                    sums[i] = sum == 0 ? 0 : (float)(Power(exponents[i], largest) * factor);
            }
        }

        // 2^(tile - row), 0 where it is far below float32's range.
        private static double Power(float tile, float row)
        {
            const int Bias = 1023, FractionBits = 52;
            if (float.IsNegativeInfinity(tile))
                return 0;
            float exponent = tile - row;
            return float.IsNaN(exponent) ? double.NaN
                : exponent < -500 ? 0
                : BitConverter.Int64BitsToDouble((long)((int)exponent + Bias) << FractionBits);
        }
    }

    /// <summary>Sums a tile's exponentials over the rows, each with its factor: raw scores of prefix tokens.</summary>
    private struct SumColumns : ICpuWork
    {
        public required Pass Pass;

        public readonly void Execute(int item, int worker)
        {
            int head = item / Pass.Tiles;
            int tile = item % Pass.Tiles;
            int count = Math.Min(Tile, Pass.Prefix - tile * Tile);
            if (count <= 0)
                return;
            float* sums = stackalloc float[Tile];
            ScoreRows.SumColumns(Pass.Exponentials(head, tile), Pass.Scorer._sums + Pass.Statistics(head, tile), Pass.Rows, sums);
            float* raw = Pass.Raw + (long)(Pass.FirstHead + head) * Pass.Prefix + tile * Tile;
            new Span<float>(sums, count).CopyTo(new Span<float>(raw, count));
        }
    }
}
