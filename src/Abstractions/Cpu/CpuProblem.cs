using System.Runtime.CompilerServices;

namespace AttnCompose.Cpu;

/// <summary>What goes into one call on the CPU: pinned inputs, lengths, scale and mask, all validated.</summary>
/// <typeparam name="T">Element type of query, key and value.</typeparam>
public readonly unsafe struct CpuInputs<T>
    where T : unmanaged
{
    internal CpuInputs(
        in ProblemShape shape, TensorView<T> query, TensorView<T> key, TensorView<T> value,
        int* keyLengths, int* queryLengths, float scale, AttentionMask mask)
    {
        Shape = shape;
        (Query, Key, Value) = (query, key, value);
        _keyLengths = keyLengths;
        _queryLengths = queryLengths;
        (Scale, Mask) = (scale, mask);
    }

    private readonly int* _keyLengths;
    private readonly int* _queryLengths;

    /// <summary>Sizes.</summary>
    public ProblemShape Shape { get; }

    /// <summary>[batch, query heads, Lq, dim].</summary>
    public TensorView<T> Query { get; }

    /// <summary>[batch, key/value heads, Lk, dim].</summary>
    public TensorView<T> Key { get; }

    /// <summary>[batch, key/value heads, Lk, dim].</summary>
    public TensorView<T> Value { get; }

    /// <summary>Factor of query times key.</summary>
    public float Scale { get; }

    /// <summary>The pipeline's mask.</summary>
    public AttentionMask Mask { get; }

    /// <summary>Valid lengths of one sequence.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public SequenceShape Sequence(int batch)
    {
        int keys = _keyLengths == null ? Shape.KeyLength : _keyLengths[batch];
        int queries = _queryLengths != null ? _queryLengths[batch]
            : Shape.QueryLength == Shape.KeyLength ? keys
            : Shape.QueryLength;
        return new SequenceShape(queries, keys);
    }
}

/// <summary>One whole call on the CPU: inputs and outputs.</summary>
/// <typeparam name="T">Element type of query, key and value.</typeparam>
/// <typeparam name="TOut">Element type of the output.</typeparam>
public readonly unsafe struct CpuProblem<T, TOut>
    where T : unmanaged
    where TOut : unmanaged
{
    private readonly float* _logSumExp;
    private readonly long _logSumExpBatchStride;
    private readonly long _logSumExpHeadStride;
    private readonly long _logSumExpRowStride;

    internal CpuProblem(
        in CpuInputs<T> inputs, TensorView<TOut> output, float* logSumExp, long batchStride, long headStride, long rowStride)
    {
        Inputs = inputs;
        Output = output;
        _logSumExp = logSumExp;
        (_logSumExpBatchStride, _logSumExpHeadStride, _logSumExpRowStride) = (batchStride, headStride, rowStride);
    }

    /// <summary>Query, key, value, lengths, scale, mask.</summary>
    public CpuInputs<T> Inputs { get; }

    /// <summary>Sizes.</summary>
    public ProblemShape Shape => Inputs.Shape;

    /// <summary>[batch, query heads, Lq, dim].</summary>
    public TensorView<TOut> Output { get; }

    /// <summary>Whether log-sum-exp was asked for.</summary>
    public bool WantsLogSumExp => _logSumExp != null;

    /// <summary>Stores a row's log-sum-exp (natural log) if it was asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetLogSumExp(int batch, int head, int row, float value)
    {
        if (_logSumExp != null)
            _logSumExp[batch * _logSumExpBatchStride + head * _logSumExpHeadStride + row * _logSumExpRowStride] = value;
    }
}

/// <summary>The CPU path of a generated pipeline: its stages in order, over pinned tensors.</summary>
public interface ICpuPipeline
{
    /// <summary>The stages of its block list; null where it has none.</summary>
    BlockStages? Blocks => null;

    /// <summary>The tensors that its stages take from the caller.</summary>
    IReadOnlyList<TensorPlan> Tensors => [];

    /// <summary>Runs the stages.</summary>
    void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
        where T : unmanaged
        where TOut : unmanaged;
}
