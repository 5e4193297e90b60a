using System.Numerics.Tensors;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>FlexPrefill on the CPU, one head at a time to a worker.</summary>
internal readonly unsafe struct FlexPrefillHeads<T, TScore, TKernel> : IHeadChoice
    where T : unmanaged
    where TScore : struct, IScoreHook
    where TKernel : struct, IMicroKernel
{
    private readonly CpuInputs<T> _problem;
    private readonly BlockMask _blocks;
    private readonly FlexPrefillAttribute _stage;
    private readonly WindowMap<T, TScore, TKernel> _window;
    private readonly float* _pooled; // [workers][key blocks][dim]
    private readonly float* _scores; // [workers][3][key blocks]: truth, estimate, bands
    private readonly float* _map;    // [workers][query blocks * key blocks]
    private readonly float* _rows;   // [workers][2][dim]: a mean and a row
    private readonly ulong* _sets;   // [workers][2][words]: vertical blocks, bands

    /// <summary>Takes the scratch memory of all workers.</summary>
    public FlexPrefillHeads(in CpuInputs<T> problem, CpuExecution cpu, TScore hook, BlockMask blocks, FlexPrefillAttribute stage)
    {
        (_problem, _blocks, _stage) = (problem, blocks, stage);
        _window = new(in problem, cpu, hook, blocks.BlockQuery);
        long workers = cpu.Workers.Count;
        _pooled = cpu.Scratch<float>(workers * blocks.KeyBlocks * problem.Shape.HeadDim);
        _scores = cpu.Scratch<float>(workers * 3 * blocks.KeyBlocks);
        _map = cpu.Scratch<float>(workers * blocks.QueryBlocks * blocks.KeyBlocks);
        _rows = cpu.Scratch<float>(workers * 2 * problem.Shape.HeadDim);
        _sets = cpu.Scratch<ulong>(workers * 2 * blocks.Words);
    }

    /// <inheritdoc/>
    public void Choose(in RowSet rows, int batch, int head, int worker)
    {
        int count = (rows.KeyCount + _blocks.BlockKey - 1) / _blocks.BlockKey;
        if (count == 0)
            return;
        float* scores = _scores + (long)worker * 3 * _blocks.KeyBlocks;
        var truth = new Span<float>(scores, count);
        var estimate = new Span<float>(scores + _blocks.KeyBlocks, count);
        var bands = new Span<float>(scores + 2L * _blocks.KeyBlocks, count);
        _window.Sum(in rows, batch, head, worker, out Span<float> columns, out Span<float> slashes);
        SumBlocks(columns, truth);
        SumBlocks(slashes, bands);
        if (!TensorPrimitives.IsFiniteAll<float>(truth))
        {
            VisitAll(in rows, batch, head);
            return;
        }
        bool aware = IsQueryAware(in rows, batch, head, worker, truth, estimate);
        ulong* sets = _sets + (long)worker * 2 * _blocks.Words;
        Span<ulong> vertical = new(sets, _blocks.Words), slash = new(sets + _blocks.Words, _blocks.Words);
        Mark(columns, truth, aware, vertical);
        Mark(slashes, bands, aware, slash);
        if (aware)
            VisitMap(in rows, batch, head, worker, count);
        VisitSets(in rows, batch, head, count, vertical, slash);
    }

    private void SumBlocks(ReadOnlySpan<float> scores, Span<float> blocks)
    {
        for (int j = 0; j < blocks.Length; j++)
        {
            int begin = j * _blocks.BlockKey;
            blocks[j] = TensorPrimitives.Sum(scores[begin..Math.Min(begin + _blocks.BlockKey, scores.Length)]);
        }
    }

    private bool IsQueryAware(in RowSet rows, int batch, int head, int worker, ReadOnlySpan<float> truth, Span<float> estimate)
    {
        Span<float> pooled = Pooled(worker, estimate.Length), mean = Row(worker, 0);
        int keyHead = head / _problem.Shape.GroupSize;
        for (int j = 0; j < estimate.Length; j++)
        {
            int begin = j * _blocks.BlockKey;
            PooledRows.Mean(
                _problem.Key, batch, keyHead, in rows, begin, Math.Min(begin + _blocks.BlockKey, rows.KeyCount), 0, Row(worker, 1),
                pooled.Slice(j * mean.Length, mean.Length));
        }
        int window = Math.Min(_blocks.BlockQuery, rows.QueryCount);
        MeanQuery(in rows, batch, head, worker, rows.KeyCount - window, rows.KeyCount, mean);
        PooledRows.MapRow(mean, pooled, _problem.Scale, estimate);
        double sum = 0;
        for (int j = 0; j < truth.Length; j++)
            sum += Divergence(truth[j], estimate[j]) + Divergence(estimate[j], truth[j]);
        return Math.Sqrt(Math.Max(sum / 2, 0)) < _stage.Tau;

        // p log(p / ((p + q) / 2))
        static double Divergence(double p, double q) => p > 0 ? p * Math.Log(2 * p / (p + q)) : 0;
    }

    private void MeanQuery(in RowSet rows, int batch, int head, int worker, int begin, int end, Span<float> mean) =>
        PooledRows.Mean(
            _problem.Query, batch, head, in rows, begin, end, _problem.Sequence(batch).FirstQuery, Row(worker, 1), mean);

    // As many blocks as the scores that cover gamma would fill, at least the least budget: those with the highest sums.
    private void Mark(ReadOnlySpan<float> scores, ReadOnlySpan<float> blocks, bool aware, Span<ulong> set)
    {
        int tokens = Math.Max(aware ? 0 : BlockChoice.Covering(scores, _stage.Gamma).Kept, _stage.MinBudget);
        set.Clear();
        BlockChoice.Mark(blocks, BlockChoice.Highest(blocks, (tokens + _blocks.BlockKey - 1) / _blocks.BlockKey), set);
    }

    private void VisitMap(in RowSet rows, int batch, int head, int worker, int keyBlocks)
    {
        int queryBlocks = QueryBlock.Count(in rows, _blocks);
        var map = new Span<float>(_map + (long)worker * _blocks.QueryBlocks * _blocks.KeyBlocks, queryBlocks * keyBlocks);
        map.Clear();
        Span<float> mean = Row(worker, 0);
        for (int index = 0; index < queryBlocks; index++)
        {
            var block = new QueryBlock(in rows, _blocks, _problem.Mask, index);
            if (block.KeyBlocks == 0)
                continue;
            MeanQuery(in rows, batch, head, worker, block.FirstDiagonal, block.LastDiagonal + 1, mean);
            PooledRows.MapRow(mean, Pooled(worker, keyBlocks), _problem.Scale, map.Slice(index * keyBlocks, block.KeyBlocks));
        }
        Cut cut = BlockChoice.Covering(map, _stage.Gamma);
        int ties = cut.Ties;
        for (int index = 0; index < queryBlocks; index++)
        {
            int visible = new QueryBlock(in rows, _blocks, _problem.Mask, index).KeyBlocks;
            Span<ulong> visit = _blocks.Visit(batch, head, index);
            for (int j = 0; j < keyBlocks; j++)
            {
                if (BlockChoice.Keeps(map[index * keyBlocks + j], cut, ref ties) && j < visible)
                    BlockWords.Set(visit, j);
            }
        }
    }

    private void VisitSets(
        in RowSet rows, int batch, int head, int keyBlocks, ReadOnlySpan<ulong> vertical, ReadOnlySpan<ulong> slash)
    {
        for (int index = 0; index < QueryBlock.Count(in rows, _blocks); index++)
        {
            var block = new QueryBlock(in rows, _blocks, _problem.Mask, index);
            Span<ulong> visit = _blocks.Visit(batch, head, index);
            for (int j = 0; j < block.KeyBlocks; j++)
            {
                // Bands of the diagonals between the block's queries and keys; below 0 lie keys that no query may see.
                int firstKey = j * _blocks.BlockKey, lastKey = Math.Min(firstKey + _blocks.BlockKey, rows.KeyCount) - 1;
                int first = Math.Max(block.FirstDiagonal - lastKey, 0), last = block.LastDiagonal - firstKey;
                if (j == 0 || block.HoldsDiagonal(j) || BlockWords.Has(vertical, j)
                    || (last >= 0 && BlockWords.Any(slash, first / _blocks.BlockKey, last / _blocks.BlockKey, keyBlocks)))
                    BlockWords.Set(visit, j);
            }
        }
    }

    private void VisitAll(in RowSet rows, int batch, int head)
    {
        for (int index = 0; index < QueryBlock.Count(in rows, _blocks); index++)
        {
            var block = new QueryBlock(in rows, _blocks, _problem.Mask, index);
            BlockWords.SetRange(_blocks.Visit(batch, head, index), 0, block.KeyBlocks);
        }
    }

    private Span<float> Pooled(int worker, int keyBlocks)
    {
        int dim = _problem.Shape.HeadDim;
        return new Span<float>(_pooled + (long)worker * _blocks.KeyBlocks * dim, keyBlocks * dim);
    }

    private Span<float> Row(int worker, int index)
    {
        int dim = _problem.Shape.HeadDim;
        return new Span<float>(_rows + ((long)worker * 2 + index) * dim, dim);
    }
}
