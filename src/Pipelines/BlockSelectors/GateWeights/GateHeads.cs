using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>SeerAttention's choice on the CPU, one head at a time to a worker.</summary>
internal readonly unsafe struct GateHeads<T> : IHeadChoice
    where T : unmanaged
{
    private const int Pools = 3; // largest, least, mean

    private readonly CpuInputs<T> _problem;
    private readonly BlockMask _blocks;
    private readonly int _count, _gateDim;
    private readonly double _threshold;
    private readonly float* _queryGate; // [query heads][dim][gate dim]
    private readonly float* _keyGate;   // [query heads][Pools][dim][gate dim]
    private readonly float* _keys;      // [workers][key blocks][gate dim]
    private readonly float* _rows;      // [workers][key blocks]
    private readonly float* _pooled;    // [workers][Pools + 1][dim]: what is pooled, and a row
    private readonly float* _query;     // [workers][gate dim]

    /// <summary>Takes the scratch memory of all workers.</summary>
    public GateHeads(in CpuInputs<T> problem, CpuExecution cpu, BlockMask blocks, GateWeightsAttribute stage)
    {
        (_problem, _blocks) = (problem, blocks);
        (_count, _threshold, _gateDim) = (stage.Count, stage.Threshold, stage.GateDim);
        _queryGate = cpu.Tensor<float>("query_gate");
        _keyGate = cpu.Tensor<float>("key_gate");
        long workers = cpu.Workers.Count;
        _keys = cpu.Scratch<float>(workers * blocks.KeyBlocks * _gateDim);
        _rows = cpu.Scratch<float>(workers * blocks.KeyBlocks);
        _pooled = cpu.Scratch<float>(workers * (Pools + 1) * problem.Shape.HeadDim);
        _query = cpu.Scratch<float>(workers * _gateDim);
    }

    /// <inheritdoc/>
    public void Choose(in RowSet rows, int batch, int head, int worker)
    {
        GateKeys(in rows, batch, head, worker);
        for (int index = 0; index < QueryBlock.Count(in rows, _blocks); index++)
        {
            var block = new QueryBlock(in rows, _blocks, _problem.Mask, index);
            Span<ulong> visit = _blocks.Visit(batch, head, index);
            Span<float> row = ScoreRow(in rows, batch, head, worker, in block);
            if (!TensorPrimitives.IsFiniteAll<float>(row))
            {
                BlockWords.SetRange(visit, 0, block.KeyBlocks);
                continue;
            }
            if (_count == 0 && !row.IsEmpty)
                PooledRows.Softmax(row);
            for (int j = 0; j < row.Length; j++)
            {
                bool isForced = j == 0 || block.HoldsDiagonal(j);
                if (isForced || (_count == 0 && row[j] >= _threshold))
                    BlockWords.Set(visit, j);
                if (isForced)
                    row[j] = float.NegativeInfinity;
            }
            if (_count > 0)
                BlockChoice.Mark(row, BlockChoice.Highest(row, _count), visit);
        }
    }

    private void GateKeys(in RowSet rows, int batch, int head, int worker)
    {
        int keyHead = head / _problem.Shape.GroupSize, dim = _problem.Shape.HeadDim;
        var pooled = new Span<float>(_pooled + (long)worker * (Pools + 1) * dim, Pools * dim);
        Span<float> most = pooled[..dim], least = pooled.Slice(dim, dim), mean = pooled.Slice(2 * dim, dim), buffer = Row(worker);
        for (int j = 0; j * _blocks.BlockKey < rows.KeyCount; j++)
        {
            int begin = j * _blocks.BlockKey, end = Math.Min(begin + _blocks.BlockKey, rows.KeyCount);
            most.Fill(float.NegativeInfinity);
            least.Fill(float.PositiveInfinity);
            mean.Clear();
            for (int i = begin; i < end; i++)
            {
                ElementConvert.ToFloat<T>(_problem.Key.Row(batch, keyHead, rows.Position(i)), buffer);
                TensorPrimitives.Max(most, buffer, most);
                TensorPrimitives.Min(least, buffer, least);
                TensorPrimitives.Add(mean, buffer, mean);
            }
            TensorPrimitives.Divide(mean, end - begin, mean);
            Multiply(pooled, _keyGate + (long)head * Pools * dim * _gateDim, Keys(worker).Slice(j * _gateDim, _gateDim));
        }
    }

    private Span<float> ScoreRow(in RowSet rows, int batch, int head, int worker, in QueryBlock block)
    {
        int dim = _problem.Shape.HeadDim;
        var mean = new Span<float>(_pooled + (long)worker * (Pools + 1) * dim, dim);
        var query = new Span<float>(_query + (long)worker * _gateDim, _gateDim);
        var row = new Span<float>(_rows + (long)worker * _blocks.KeyBlocks, block.KeyBlocks);
        PooledRows.Mean(
            _problem.Query, batch, head, in rows, block.FirstDiagonal, block.LastDiagonal + 1, _problem.Sequence(batch).FirstQuery,
            Row(worker), mean);
        Multiply(mean, _queryGate + (long)head * dim * _gateDim, query);
        PooledRows.ScoreRow(query, Keys(worker), 1 / MathF.Sqrt(_gateDim), row);
        return row;
    }

    // Product of a vector and a matrix with a row of gate dim elements for each of its own.
    private void Multiply(ReadOnlySpan<float> vector, float* weights, Span<float> product)
    {
        product.Clear();
        for (int i = 0; i < vector.Length; i++)
            TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(weights + (long)i * _gateDim, _gateDim), vector[i], product, product);
    }

    private Span<float> Keys(int worker)
    {
        int length = _blocks.KeyBlocks * _gateDim;
        return new Span<float>(_keys + (long)worker * length, length);
    }

    private Span<float> Row(int worker)
    {
        int dim = _problem.Shape.HeadDim;
        return new Span<float>(_pooled + ((long)worker * (Pools + 1) + Pools) * dim, dim);
    }
}
