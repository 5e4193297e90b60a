using System.Numerics.Tensors;

namespace AttnCompose;

/// <summary>
/// One attention call on host memory: what goes in and what comes out. Tensors are [batch, heads, length, dim] with any
/// strides whose last is 1.
/// </summary>
/// <typeparam name="T">Element of query, key and value: float, <see cref="Half"/> or <see cref="BFloat16"/>.</typeparam>
/// <typeparam name="TOut">Element of the output: <typeparamref name="T"/> or float.</typeparam>
public readonly ref struct AttentionArguments<T, TOut>
    where T : unmanaged
    where TOut : unmanaged
{
    /// <summary>[batch, query heads, Lq, head dim].</summary>
    public required ReadOnlyTensorSpan<T> Query { get; init; }

    /// <summary>[batch, key/value heads, Lk, head dim].</summary>
    public required ReadOnlyTensorSpan<T> Key { get; init; }

    /// <summary>[batch, key/value heads, Lk, head dim].</summary>
    public required ReadOnlyTensorSpan<T> Value { get; init; }

    /// <summary>[batch, query heads, Lq, head dim]; written whole. It may not share memory with an input.</summary>
    public required TensorSpan<TOut> Output { get; init; }

    /// <summary>
    /// Optional, [batch, query heads, Lq], natural log: the log of the sum of exponentials of a row's scores; -inf for a row
    /// that attends to nothing or was not kept.
    /// </summary>
    public TensorSpan<float> LogSumExp { get; init; }

    /// <summary>Optional, [batch]: valid keys of each sequence. What lies beyond has no influence, whatever bytes it holds.</summary>
    public ReadOnlySpan<int> KeyLengths { get; init; }

    /// <summary>
    /// Optional, [batch]: valid queries of each sequence. Left out, it is the key length where Lq = Lk, and Lq elsewhere.
    /// Output rows beyond are 0 and their log-sum-exp -inf.
    /// </summary>
    public ReadOnlySpan<int> QueryLengths { get; init; }

    /// <summary>Factor of query times key; 1 / sqrt(head dim) where it is null.</summary>
    public float? Scale { get; init; }

    /// <summary>Optional: receives the token selection.</summary>
    public TokenSelection? Selection { get; init; }

    /// <summary>
    /// The key blocks that each query block visits, for a pipeline whose block selector takes the caller's list, such as
    /// [GivenBlocks]; its block sizes are those of the pipeline's attention kernel.
    /// </summary>
    public BlockMask? Blocks { get; init; }

    /// <summary>Optional: receives the blocks that a block selector chose.</summary>
    public BlockMask? BlockSelection { get; init; }

    /// <summary>
    /// Query heads for which a block selector chooses every block: the dense heads beside sparse ones of per-head dispatch
    /// (DuoAttention, arXiv 2410.10819). For pipelines whose block selector chooses by itself.
    /// </summary>
    public HeadSet DenseHeads { get; init; }

    /// <summary>
    /// The tensors that the pipeline's stages take from the caller, such as the weights of a learned gate: an instance of the
    /// <c>Tensors</c> of the pipeline. Null where they take none.
    /// </summary>
    public StageTensors? Tensors { get; init; }

    /// <summary>
    /// Optional: which layer of a model of how many the call is for. Selectors whose choice depends on depth ask for it.
    /// </summary>
    public LayerPosition Layer { get; init; }
}
