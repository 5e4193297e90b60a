namespace AttnCompose;

/// <summary>
/// Which keys each block of queries visits, per sequence and query head, on the host. Query block i holds the queries
/// [i * BlockQuery, (i + 1) * BlockQuery), key block j the keys [j * BlockKey, (j + 1) * BlockKey), both counted among the rows
/// that take part: after a token selection in the compressed sequence, whose queries stand at the end of its keys.
/// </summary>
/// <remarks>
/// <para>A query attends to the union of three sets, each key once, cut by the pipeline's mask:</para>
/// <list type="bullet">
/// <item>the key <em>blocks</em> that its query block visits. The pipeline's rules apply in all of them, and where the diagonal or
/// a sequence's end cuts a block, it is cut. A <em>partial</em> one is said to be cut by a rule: a device takes it first, with
/// those that the diagonal cuts, and that is all the bit does;</item>
/// <item>the <em>columns</em> of its head: single keys that every query sees;</item>
/// <item>the <em>slashes</em> of its head: a query whose own key is d sees key d - o of every slash o.</item>
/// </list>
/// <para>Make one from your own list (<see cref="FromDense"/>, <see cref="FromKeyBlockLists"/>) for
/// <see cref="AttentionArguments{T, TOut}.Blocks"/>, or pass an empty one as
/// <see cref="AttentionArguments{T, TOut}.BlockSelection"/> to see what a block selector chose. Reusable: it grows to the
/// largest problem that it has seen and allocates nothing after that.</para>
/// </remarks>
public sealed partial class BlockMask
{
    private const int WordBits = 64;

    private ulong[] _visit = [];
    private ulong[] _partial = [];
    private int[] _columns = [];
    private int[] _columnCounts = [];
    private ulong[] _slashes = [];

    /// <summary>Sequences; 1 also stands for any number of them with one list.</summary>
    public int Batch { get; private set; }

    /// <summary>Query heads; 1 also stands for any number of them with one list.</summary>
    public int QueryHeads { get; private set; }

    /// <summary>Lq.</summary>
    public int QueryLength { get; private set; }

    /// <summary>Lk.</summary>
    public int KeyLength { get; private set; }

    /// <summary>Queries of a block; 0 before the first use.</summary>
    public int BlockQuery { get; private set; }

    /// <summary>Keys of a block; 0 before the first use.</summary>
    public int BlockKey { get; private set; }

    /// <summary>Query blocks of a head.</summary>
    public int QueryBlocks { get; private set; }

    /// <summary>Key blocks of a head.</summary>
    public int KeyBlocks { get; private set; }

    /// <summary>64-bit words that hold one bit for each key block.</summary>
    public int Words => Divide(KeyBlocks, WordBits);

    /// <summary>64-bit words that hold one bit for each slash.</summary>
    public int SlashWords => HasSlashes ? Divide(KeyLength, WordBits) : 0;

    /// <summary>Whether there is room for columns.</summary>
    public bool HasColumns { get; private set; }

    /// <summary>Whether there is room for slashes.</summary>
    public bool HasSlashes { get; private set; }

    /// <summary>Query heads for which a block selector chooses every block and nothing beside them.</summary>
    public HeadSet DenseHeads { get; internal set; }

    /// <summary>
    /// Sizes the list for a problem; nothing is visited. For selectors the pipeline has called it already.
    /// </summary>
    /// <param name="batch">Sequences.</param>
    /// <param name="queryHeads">Query heads.</param>
    /// <param name="queryLength">Lq.</param>
    /// <param name="keyLength">Lk.</param>
    /// <param name="blockQuery">Queries of a block.</param>
    /// <param name="blockKey">Keys of a block.</param>
    /// <param name="columns">Whether there are columns beside the blocks.</param>
    /// <param name="slashes">Whether there are slashes beside the blocks.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative, or a block is empty.</exception>
    public void Reset(
        int batch, int queryHeads, int queryLength, int keyLength, int blockQuery, int blockKey,
        bool columns = false, bool slashes = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(batch);
        ArgumentOutOfRangeException.ThrowIfNegative(queryHeads);
        ArgumentOutOfRangeException.ThrowIfNegative(queryLength);
        ArgumentOutOfRangeException.ThrowIfNegative(keyLength);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(blockQuery);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(blockKey);
        (Batch, QueryHeads, QueryLength, KeyLength) = (batch, queryHeads, queryLength, keyLength);
        (BlockQuery, BlockKey, HasColumns, HasSlashes) = (blockQuery, blockKey, columns, slashes);
        DenseHeads = default;
        (QueryBlocks, KeyBlocks) = (Divide(queryLength, blockQuery), Divide(keyLength, blockKey));
        int heads = checked(batch * queryHeads);
        int words = checked(heads * QueryBlocks * Words);
        Clear(ref _visit, words);
        Clear(ref _partial, words);
        Clear(ref _columnCounts, columns ? heads : 0);
        Clear(ref _columns, columns ? checked(heads * keyLength) : 0);
        Clear(ref _slashes, checked(heads * SlashWords));
    }

    /// <summary>Forgets everything: a list for nothing.</summary>
    public void Clear() => Reset(0, 0, 0, 0, 1, 1);

    /// <summary>One bit for each key block that a query block visits, from the lowest bit of the first word on.</summary>
    public Span<ulong> Visit(int batch, int head, int queryBlock) => Bits(_visit, batch, head, queryBlock);

    /// <summary>
    /// One bit for each key block that a mask rule is said to cut. Only those of visited blocks have a meaning.
    /// </summary>
    public Span<ulong> Partial(int batch, int head, int queryBlock) => Bits(_partial, batch, head, queryBlock);

    /// <summary>Whether a query block visits a key block.</summary>
    public bool Visits(int batch, int head, int queryBlock, int keyBlock) =>
        Has(Visit(batch, head, queryBlock), Checked(keyBlock, KeyBlocks, nameof(keyBlock)));

    /// <summary>Whether a query block visits a key block that a mask rule is said to cut.</summary>
    public bool IsPartial(int batch, int head, int queryBlock, int keyBlock) =>
        Visits(batch, head, queryBlock, keyBlock) && Has(Partial(batch, head, queryBlock), keyBlock);

    /// <summary>Adds a key block to what a query block visits.</summary>
    public void Add(int batch, int head, int queryBlock, int keyBlock, bool partial = false)
    {
        ulong bit = 1UL << (Checked(keyBlock, KeyBlocks, nameof(keyBlock)) % WordBits);
        Visit(batch, head, queryBlock)[keyBlock / WordBits] |= bit;
        if (partial)
            Partial(batch, head, queryBlock)[keyBlock / WordBits] |= bit;
    }

    /// <summary>The columns of a head, ascending; empty where there are none.</summary>
    public ReadOnlySpan<int> Columns(int batch, int head) =>
        HasColumns ? _columns.AsSpan(Row(batch, head) * KeyLength, _columnCounts[Row(batch, head)]) : default;

    /// <summary>Sets the columns of a head.</summary>
    /// <param name="batch">The sequence.</param>
    /// <param name="head">The query head.</param>
    /// <param name="columns">Keys among the rows that take part, ascending, each once.</param>
    /// <exception cref="InvalidOperationException">The list was sized without columns.</exception>
    /// <exception cref="ArgumentException">The columns do not ascend, or one is no key.</exception>
    public void SetColumns(int batch, int head, ReadOnlySpan<int> columns)
    {
        if (!HasColumns)
            throw new InvalidOperationException("This block list was sized without columns.");
        for (int i = 0; i < columns.Length; i++)
        {
            if (columns[i] < 0 || columns[i] >= KeyLength || (i > 0 && columns[i] <= columns[i - 1]))
            {
                throw new ArgumentException(
                    $"Column {i} is {columns[i]}; columns ascend, each once, in [0, {KeyLength}).", nameof(columns));
            }
        }
        columns.CopyTo(_columns.AsSpan(Row(batch, head) * KeyLength, KeyLength));
        _columnCounts[Row(batch, head)] = columns.Length;
    }

    /// <summary>
    /// One bit for each slash of a head: bit o set says that a query whose own key is d sees key d - o. Empty where there are none.
    /// </summary>
    public Span<ulong> Slashes(int batch, int head) => _slashes.AsSpan(Row(batch, head) * SlashWords, SlashWords);

    /// <summary>Adds a slash to a head.</summary>
    /// <exception cref="InvalidOperationException">The list was sized without slashes.</exception>
    public void AddSlash(int batch, int head, int offset)
    {
        if (!HasSlashes)
            throw new InvalidOperationException("This block list was sized without slashes.");
        Slashes(batch, head)[Checked(offset, KeyLength, nameof(offset)) / WordBits] |= 1UL << (offset % WordBits);
    }

    /// <summary>Whether a head has a slash.</summary>
    public bool HasSlash(int batch, int head, int offset) =>
        HasSlashes && (uint)offset < (uint)KeyLength && Has(Slashes(batch, head), offset);

    /// <summary>
    /// Share of the pairs of blocks that are visited among those that a causal mask leaves, of all heads; 0 where there are none.
    /// Columns and slashes are not counted.
    /// </summary>
    public double CausalDensity
    {
        get
        {
            long visited = 0, possible = 0;
            for (int b = 0; b < Batch; b++)
            {
                for (int h = 0; h < QueryHeads; h++)
                {
                    for (int q = 0; q < QueryBlocks; q++)
                    {
                        int last = Math.Min((q + 1) * BlockQuery, QueryLength) - 1 + KeyLength - QueryLength;
                        int blocks = last < 0 ? 0 : last / BlockKey + 1;
                        possible += blocks;
                        for (int k = 0; k < blocks; k++)
                            visited += Visits(b, h, q, k) ? 1 : 0;
                    }
                }
            }
            return possible == 0 ? 0 : (double)visited / possible;
        }
    }

    /// <summary>All words of <see cref="Visit"/>, [batch, query heads, query blocks, words].</summary>
    internal Span<ulong> VisitWords => _visit.AsSpan(0, Batch * QueryHeads * QueryBlocks * Words);

    /// <summary>All words of <see cref="Partial"/>, [batch, query heads, query blocks, words].</summary>
    internal Span<ulong> PartialWords => _partial.AsSpan(0, Batch * QueryHeads * QueryBlocks * Words);

    /// <summary>[batch, query heads, Lk]; what follows a head's last column has no meaning.</summary>
    internal Span<int> AllColumns => _columns.AsSpan(0, HasColumns ? Batch * QueryHeads * KeyLength : 0);

    /// <summary>[batch, query heads].</summary>
    internal Span<int> ColumnCounts => _columnCounts.AsSpan(0, HasColumns ? Batch * QueryHeads : 0);

    /// <summary>[batch, query heads, slash words].</summary>
    internal Span<ulong> AllSlashes => _slashes.AsSpan(0, Batch * QueryHeads * SlashWords);

    /// <summary>Whether a bit is set.</summary>
    internal static bool Has(ReadOnlySpan<ulong> bits, int bit) => (bits[bit / WordBits] >> (bit % WordBits) & 1) != 0;

    private Span<ulong> Bits(ulong[] words, int batch, int head, int queryBlock) =>
        words.AsSpan((Row(batch, head) * QueryBlocks + Checked(queryBlock, QueryBlocks, nameof(queryBlock))) * Words, Words);

    // A list of one sequence or head serves all of them.
    private int Row(int batch, int head)
    {
        if (Batch == 0 || QueryHeads == 0)
            throw new InvalidOperationException("The block list is empty: no call with a block selector has filled it.");
        return (Batch == 1 ? 0 : Checked(batch, Batch, nameof(batch))) * QueryHeads
            + (QueryHeads == 1 ? 0 : Checked(head, QueryHeads, nameof(head)));
    }

    private static int Checked(int index, int count, string name)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)count, name);
        return index;
    }

    private static int Divide(int value, int divisor) => (int)(((long)value + divisor - 1) / divisor);

    private static void Clear<T>(ref T[] array, int length)
    {
        if (array.Length < length)
            array = new T[length];
        else
            array.AsSpan(0, length).Clear();
    }
}
