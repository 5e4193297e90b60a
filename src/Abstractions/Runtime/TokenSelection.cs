namespace AttnCompose;

/// <summary>
/// Which tokens take part, per sequence and query head, on the host: ascending positions among the keys. Pass one in
/// <see cref="AttentionArguments{T, TOut}.Selection"/> to see what a token selector chose. Reusable: it grows to the
/// largest problem it has seen and allocates nothing after that. Empty, and throwing <see cref="InvalidOperationException"/>
/// where a head is asked for, until a pipeline with a token selector has filled it.
/// </summary>
public sealed class TokenSelection
{
    private int[] _positions = [];
    private int[] _keyCounts = [];
    private int[] _queryBegins = [];
    private float[] _scores = [];
    private int _heads;
    private int _batch;
    private int _scoreStride;
    private int _stride;

    /// <summary>Sequences.</summary>
    public int Batch => _batch;

    /// <summary>Query heads.</summary>
    public int QueryHeads => _heads;

    /// <summary>Room for positions per head: the problem's key length.</summary>
    public int Capacity => _stride;

    /// <summary>Whether a selector should also hand out its scores in <see cref="Scores"/>.</summary>
    public bool WantsScores { get; set; }

    /// <summary>Width of a row of <see cref="Scores"/>: the number of scored (prefix) tokens; 0 where none were handed out.</summary>
    public int ScoreLength => _scoreStride;

    /// <summary>Kept positions of one head, ascending.</summary>
    public ReadOnlySpan<int> Positions(int batch, int head) =>
        _positions.AsSpan(Row(batch, head) * _stride, KeyCount(batch, head));

    /// <summary>How many tokens one head keeps.</summary>
    public int KeyCount(int batch, int head) => _keyCounts[Row(batch, head)];

    /// <summary>Index, among the kept positions, of the first one that has a query row (0 where Lq = Lk).</summary>
    public int QueryBegin(int batch, int head) => _queryBegins[Row(batch, head)];

    /// <summary>Scores of the prefix tokens of one head as the selector ranked them, when <see cref="WantsScores"/> was set.</summary>
    public ReadOnlySpan<float> Scores(int batch, int head) => _scores.AsSpan(Row(batch, head) * _scoreStride, _scoreStride);

    /// <summary>Largest number of kept tokens over all heads.</summary>
    public int LargestCount
    {
        get
        {
            int largest = 0;
            foreach (int count in _keyCounts.AsSpan(0, _batch * _heads))
                largest = Math.Max(largest, count);
            return largest;
        }
    }

    /// <summary>For selectors: sizes the selection for a problem, all heads empty.</summary>
    public void Reset(int batch, int queryHeads, int keyLength)
    {
        (_batch, _heads, _stride, _scoreStride) = (batch, queryHeads, keyLength, 0);
        int rows = checked(batch * queryHeads);
        Grow(ref _positions, checked(rows * keyLength));
        Grow(ref _keyCounts, rows);
        Grow(ref _queryBegins, rows);
        _keyCounts.AsSpan(0, rows).Clear();
        _queryBegins.AsSpan(0, rows).Clear();
    }

    /// <summary>For selectors: the memory for one head's positions, <see cref="Capacity"/> long.</summary>
    public Span<int> Buffer(int batch, int head) => _positions.AsSpan(Row(batch, head) * _stride, _stride);

    /// <summary>For selectors: sets how much of <see cref="Buffer"/> was filled and where its query rows begin.</summary>
    public void SetCounts(int batch, int head, int keyCount, int queryBegin)
    {
        int row = Row(batch, head);
        _keyCounts[row] = keyCount;
        _queryBegins[row] = queryBegin;
    }

    /// <summary>For selectors: makes room for scores of a width and hands out one head's row.</summary>
    public Span<float> ScoreBuffer(int batch, int head, int length)
    {
        if (_scoreStride != length)
        {
            _scoreStride = length;
            Grow(ref _scores, checked(_batch * _heads * length));
            Array.Clear(_scores);
        }
        return _scores.AsSpan(Row(batch, head) * length, length);
    }

    private int Row(int batch, int head)
    {
        if (_batch == 0)
            throw new InvalidOperationException("The selection is empty: no call with a token selector has filled it.");
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)batch, (uint)_batch, nameof(batch));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)head, (uint)_heads, nameof(head));
        return batch * _heads + head;
    }

    private static void Grow<T>(ref T[] array, int length)
    {
        if (array.Length < length)
            array = new T[length];
    }
}
