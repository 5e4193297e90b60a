namespace AttnCompose.Cuda;

/// <summary>
/// One attention call on device memory. Tensors are [batch, heads, length, dim] with any strides whose last is 1; bases and
/// strides of query, key, value and output are multiples of 16 bytes.
/// </summary>
/// <typeparam name="T">Element of query, key and value: <see cref="Half"/> or <see cref="BFloat16"/> for the built-in
/// stages.</typeparam>
/// <typeparam name="TOut">Element of the output: <typeparamref name="T"/> or float.</typeparam>
public readonly record struct CudaAttentionArguments<T, TOut>
    where T : unmanaged
    where TOut : unmanaged
{
    /// <summary>[batch, query heads, Lq, head dim].</summary>
    public required CudaTensor<T> Query { get; init; }

    /// <summary>[batch, key/value heads, Lk, head dim].</summary>
    public required CudaTensor<T> Key { get; init; }

    /// <summary>[batch, key/value heads, Lk, head dim].</summary>
    public required CudaTensor<T> Value { get; init; }

    /// <summary>[batch, query heads, Lq, head dim]; written whole. It may not share memory with an input.</summary>
    public required CudaTensor<TOut> Output { get; init; }

    /// <summary>
    /// Optional, [batch, query heads, Lq], natural log; -inf for a row that attends to nothing or was not kept.
    /// </summary>
    public CudaTensor<float>? LogSumExp { get; init; }

    /// <summary>
    /// Optional, [batch]: valid keys of each sequence. They are read on the device, so a value outside [0, Lk] is not
    /// noticed on the host.
    /// </summary>
    public CudaTensor<int>? KeyLengths { get; init; }

    /// <summary>
    /// Optional, [batch]: valid queries of each sequence. Left out, it is the key length where Lq = Lk, and Lq elsewhere.
    /// </summary>
    public CudaTensor<int>? QueryLengths { get; init; }

    /// <summary>Factor of query times key; 1 / sqrt(head dim) where it is null.</summary>
    public float? Scale { get; init; }

    /// <summary>Optional: receives the token selection.</summary>
    public CudaTokenSelection? Selection { get; init; }

    /// <summary>
    /// The key blocks that each query block visits, for a pipeline whose block selector takes the caller's list;
    /// its block sizes are those of the pipeline's attention kernel.
    /// </summary>
    public CudaBlockMask? Blocks { get; init; }

    /// <summary>Optional: receives the blocks that a block selector chose.</summary>
    public CudaBlockMask? BlockSelection { get; init; }

    /// <summary>
    /// Query heads for which a block selector chooses every block: the dense heads beside sparse ones of per-head dispatch
    /// (DuoAttention, arXiv 2410.10819). For pipelines whose block selector chooses by itself.
    /// </summary>
    public HeadSet DenseHeads { get; init; }

    /// <summary>
    /// The tensors that the pipeline's stages take from the caller, such as the weights of a learned gate: an instance of the
    /// <c>CudaTensors</c> of the pipeline. Null where they take none.
    /// </summary>
    public CudaStageTensors? Tensors { get; init; }

    /// <summary>
    /// Optional: which layer of a model of how many the call is for. Selectors whose choice depends on depth ask for it.
    /// </summary>
    public LayerPosition Layer { get; init; }
}

/// <summary>Which tokens take part, in device memory. Pass one to a call to have what its token selectors chose.</summary>
public sealed class CudaTokenSelection : IDisposable
{
    private int[] _hostPositions = [];
    private int[] _hostCounts = [];
    private int[] _hostBegins = [];

    /// <summary>Memory for a problem.</summary>
    public CudaTokenSelection(CudaDevice device, int batch, int queryHeads, int keyLength)
    {
        try
        {
            Positions = CudaTensor.Allocate<int>(device, batch, queryHeads, keyLength);
            KeyCounts = CudaTensor.Allocate<int>(device, batch, queryHeads);
            QueryBegins = CudaTensor.Allocate<int>(device, batch, queryHeads);
        }
        catch
        {
            Positions?.Dispose();
            KeyCounts?.Dispose();
            throw;
        }
    }

    /// <summary>Over tensors without gaps, [batch, heads, Lk] and twice [batch, heads].</summary>
    internal CudaTokenSelection(CudaTensor<int> positions, CudaTensor<int> keyCounts, CudaTensor<int> queryBegins) =>
        (Positions, KeyCounts, QueryBegins) = (positions, keyCounts, queryBegins);

    /// <summary>
    /// [batch, query heads, Lk]: kept positions of each head, ascending; what follows the last one has no meaning.
    /// </summary>
    public CudaTensor<int> Positions { get; }

    /// <summary>[batch, query heads]: how many tokens each head keeps.</summary>
    public CudaTensor<int> KeyCounts { get; }

    /// <summary>[batch, query heads]: index of the first kept position that has a query row.</summary>
    public CudaTensor<int> QueryBegins { get; }

    internal DeviceTokenIndex Index => new()
    {
        Positions = Positions.Pointer,
        KeyCount = KeyCounts.Pointer,
        QueryBegin = QueryBegins.Pointer,
        Capacity = Positions.Lengths[2],
    };

    /// <summary>Copies the selection to the host, behind all work put on the stream.</summary>
    public void CopyTo(TokenSelection selection, CudaStream? stream = null)
    {
        ArgumentNullException.ThrowIfNull(selection);
        (int batch, int heads, int capacity) = ((int)Positions.Lengths[0], (int)Positions.Lengths[1], (int)Positions.Lengths[2]);
        Array.Resize(ref _hostPositions, checked((int)Positions.Count));
        Array.Resize(ref _hostCounts, (int)KeyCounts.Count);
        Array.Resize(ref _hostBegins, (int)QueryBegins.Count);
        Positions.CopyTo(_hostPositions, stream);
        KeyCounts.CopyTo(_hostCounts, stream);
        QueryBegins.CopyTo(_hostBegins, stream);
        selection.Reset(batch, heads, capacity);
        for (int row = 0; row < batch * heads; row++)
        {
            (int b, int h, int count) = (row / heads, row % heads, _hostCounts[row]);
            if (count < 0 || count > capacity || _hostBegins[row] < 0 || _hostBegins[row] > count)
                throw new InvalidOperationException(
                    $"The device says that head {h} of sequence {b} keeps {count} of {capacity} tokens, queries from {_hostBegins[row]} on.");
            _hostPositions.AsSpan(row * capacity, count).CopyTo(selection.Buffer(b, h));
            selection.SetCounts(b, h, count, _hostBegins[row]);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Positions.Dispose();
        KeyCounts.Dispose();
        QueryBegins.Dispose();
    }
}
