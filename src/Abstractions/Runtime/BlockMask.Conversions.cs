namespace AttnCompose;

// Block lists in the forms in which others keep them.
public sealed partial class BlockMask
{
    /// <summary>A list from one bool for each pair of blocks.</summary>
    /// <param name="visit">[batch, query heads, query blocks, key blocks]: whether the pair is visited.</param>
    /// <param name="batch">Sequences, or 1 for any number of them with one list.</param>
    /// <param name="queryHeads">Query heads, or 1 for any number of them with one list.</param>
    /// <param name="queryLength">Lq.</param>
    /// <param name="keyLength">Lk.</param>
    /// <param name="blockQuery">Queries of a block.</param>
    /// <param name="blockKey">Keys of a block.</param>
    /// <param name="partial">
    /// Of the shape of <paramref name="visit"/>: whether the pipeline's mask rule is said to cut the pair. Left out, no pair is
    /// partial. Rules apply and the diagonal of a causal pipeline cuts either way.
    /// </param>
    /// <exception cref="ArgumentException">A span has not as many elements as there are pairs.</exception>
    public static BlockMask FromDense(
        ReadOnlySpan<bool> visit, int batch, int queryHeads, int queryLength, int keyLength, int blockQuery, int blockKey,
        ReadOnlySpan<bool> partial = default)
    {
        var mask = new BlockMask();
        mask.Reset(batch, queryHeads, queryLength, keyLength, blockQuery, blockKey);
        long pairs = (long)batch * queryHeads * mask.QueryBlocks * mask.KeyBlocks;
        CheckLength(visit.Length, nameof(visit));
        if (!partial.IsEmpty)
            CheckLength(partial.Length, nameof(partial));
        for (int i = 0; i < visit.Length; i++)
        {
            if (!visit[i])
                continue;
            (int row, int keyBlock) = Math.DivRem(i, mask.KeyBlocks);
            (int head, int queryBlock) = Math.DivRem(row, mask.QueryBlocks);
            mask.Add(head / queryHeads, head % queryHeads, queryBlock, keyBlock, !partial.IsEmpty && partial[i]);
        }
        return mask;

        void CheckLength(int length, string name)
        {
            if (length != pairs)
            {
                throw new ArgumentException(
                    $"{name} has {length} elements; [{batch}, {queryHeads}, {mask.QueryBlocks}, {mask.KeyBlocks}] are {pairs}.", name);
            }
        }
    }

    /// <summary>
    /// A list from the four arrays of a PyTorch <c>BlockMask</c> (<c>torch.nn.attention.flex_attention</c>): for each block of
    /// queries a count and the numbers of its key blocks, once for blocks in which the mask decides pair by pair and once for
    /// whole ones.
    /// </summary>
    /// <param name="kvNumBlocks">[batch, query heads, query blocks]: partial key blocks of each query block.</param>
    /// <param name="kvIndices">
    /// [batch, query heads, query blocks, width]: their numbers in any order; only the first count of a row have a meaning. The
    /// width is the array's own, key blocks as a rule.
    /// </param>
    /// <param name="fullKvNumBlocks">The same for key blocks that are visited whole; empty where there are none.</param>
    /// <param name="fullKvIndices">Their numbers.</param>
    /// <param name="batch">Sequences, or 1 for any number of them with one list.</param>
    /// <param name="queryHeads">Query heads, or 1 for any number of them with one list.</param>
    /// <param name="queryLength">Lq.</param>
    /// <param name="keyLength">Lk.</param>
    /// <param name="blockQuery">Queries of a block (BLOCK_SIZE[0]).</param>
    /// <param name="blockKey">Keys of a block (BLOCK_SIZE[1]).</param>
    /// <remarks>
    /// The function <c>mask_mod</c> is not part of the list: what is masked is up to the pipeline's mask and mask rule, which are
    /// asked in the full blocks too.
    /// </remarks>
    /// <exception cref="ArgumentException">An array's length does not fit, a count passes the width, or a number is no key
    /// block.</exception>
    public static BlockMask FromKeyBlockLists(
        ReadOnlySpan<int> kvNumBlocks, ReadOnlySpan<int> kvIndices, ReadOnlySpan<int> fullKvNumBlocks, ReadOnlySpan<int> fullKvIndices,
        int batch, int queryHeads, int queryLength, int keyLength, int blockQuery, int blockKey)
    {
        var mask = new BlockMask();
        mask.Reset(batch, queryHeads, queryLength, keyLength, blockQuery, blockKey);
        // Whole blocks first: one that is in both lists is partial.
        mask.AddLists(fullKvNumBlocks, fullKvIndices, partial: false, nameof(fullKvNumBlocks), nameof(fullKvIndices));
        mask.AddLists(kvNumBlocks, kvIndices, partial: true, nameof(kvNumBlocks), nameof(kvIndices));
        return mask;
    }

    private void AddLists(ReadOnlySpan<int> counts, ReadOnlySpan<int> numbers, bool partial, string countsName, string numbersName)
    {
        int rows = Batch * QueryHeads * QueryBlocks;
        if (counts.IsEmpty && numbers.IsEmpty)
            return;
        if (counts.Length != rows)
        {
            throw new ArgumentException(
                $"{countsName} has {counts.Length} elements; [{Batch}, {QueryHeads}, {QueryBlocks}] are {rows}.", countsName);
        }
        int width = rows == 0 ? 0 : numbers.Length / rows;
        if (rows * width != numbers.Length)
            throw new ArgumentException($"{numbersName} has {numbers.Length} elements, no multiple of {rows} query blocks.", numbersName);
        for (int row = 0; row < rows; row++)
        {
            if (counts[row] < 0 || counts[row] > width)
                throw new ArgumentException($"{countsName}[{row}] is {counts[row]}; a row of {numbersName} holds {width}.", countsName);
            (int head, int queryBlock) = Math.DivRem(row, QueryBlocks);
            foreach (int keyBlock in numbers.Slice(row * width, counts[row]))
            {
                if ((uint)keyBlock >= (uint)KeyBlocks)
                {
                    throw new ArgumentException(
                        $"{numbersName} names key block {keyBlock} for query block {queryBlock}; there are {KeyBlocks}.", numbersName);
                }
                Add(head / QueryHeads, head % QueryHeads, queryBlock, keyBlock, partial);
            }
        }
    }
}
