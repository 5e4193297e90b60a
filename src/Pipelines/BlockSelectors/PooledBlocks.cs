using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>
/// The means of one head's blocks and a row of scores between them, for selectors that rank by these. One head at a time to a
/// worker, whose memory it is until the next.
/// </summary>
internal readonly unsafe struct PooledBlocks<T>
    where T : unmanaged
{
    private readonly CpuInputs<T> _problem;
    private readonly BlockMask _blocks;
    private readonly float* _keys; // [workers][key blocks][dim]
    private readonly float* _rows; // [workers][key blocks]
    private readonly float* _mean; // [workers][3][dim]: the mean query, a row, a direction

    /// <summary>Takes the scratch memory of all workers.</summary>
    public PooledBlocks(in CpuInputs<T> problem, CpuExecution cpu, BlockMask blocks)
    {
        (_problem, _blocks) = (problem, blocks);
        long workers = cpu.Workers.Count;
        _keys = cpu.Scratch<float>(workers * blocks.KeyBlocks * problem.Shape.HeadDim);
        _rows = cpu.Scratch<float>(workers * blocks.KeyBlocks);
        _mean = cpu.Scratch<float>(workers * 3 * problem.Shape.HeadDim);
    }

    /// <summary>Computes the means of a head's key blocks.</summary>
    /// <param name="rows">The rows that take part.</param>
    /// <param name="batch">The sequence.</param>
    /// <param name="head">The query head.</param>
    /// <param name="worker">Number of the worker that calls.</param>
    /// <param name="similarities">Receives how alike the rows of each key block are; empty where nobody asks.</param>
    public void PoolKeys(in RowSet rows, int batch, int head, int worker, Span<float> similarities = default)
    {
        int keyHead = head / _problem.Shape.GroupSize, dim = _problem.Shape.HeadDim;
        Span<float> keys = Keys(worker);
        for (int j = 0; j * _blocks.BlockKey < rows.KeyCount; j++)
        {
            int begin = j * _blocks.BlockKey, end = Math.Min(begin + _blocks.BlockKey, rows.KeyCount);
            PooledRows.Mean(
                _problem.Key, batch, keyHead, in rows, begin, end, 0, Vector(worker, 1), keys.Slice(j * dim, dim));
            if (!similarities.IsEmpty)
            {
                similarities[j] = PooledRows.Similarity(
                    _problem.Key, batch, keyHead, in rows, begin, end, 0, Vector(worker, 1), Vector(worker, 2));
            }
        }
    }

    /// <summary>
    /// Scores of a query block's mean against those of the key blocks that it may see, after <see cref="PoolKeys"/>.
    /// </summary>
    public Span<float> ScoreRow(in RowSet rows, int batch, int head, int worker, in QueryBlock block)
    {
        Span<float> mean = Vector(worker, 0), row = new(_rows + (long)worker * _blocks.KeyBlocks, block.KeyBlocks);
        PooledRows.Mean(
            _problem.Query, batch, head, in rows, block.FirstDiagonal, block.LastDiagonal + 1,
            _problem.Sequence(batch).FirstQuery, Vector(worker, 1), mean);
        PooledRows.ScoreRow(mean, Keys(worker), _problem.Scale, row);
        return row;
    }

    /// <summary>How alike the rows of a query block are.</summary>
    public float SimilarityOfQueries(in RowSet rows, int batch, int head, int worker, in QueryBlock block) =>
        PooledRows.Similarity(
            _problem.Query, batch, head, in rows, block.FirstDiagonal, block.LastDiagonal + 1,
            _problem.Sequence(batch).FirstQuery, Vector(worker, 1), Vector(worker, 2));

    private Span<float> Keys(int worker)
    {
        int length = _blocks.KeyBlocks * _problem.Shape.HeadDim;
        return new Span<float>(_keys + (long)worker * length, length);
    }

    private Span<float> Vector(int worker, int index)
    {
        int dim = _problem.Shape.HeadDim;
        return new Span<float>(_mean + ((long)worker * 3 + index) * dim, dim);
    }
}
