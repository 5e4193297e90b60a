namespace AttnCompose;

public sealed partial class BlockMask
{
    /// <summary>
    /// Pairs of a query and a key of one head that are visited under the causal mask, each pair once, columns and slashes included.
    /// For the list of a pipeline without a mask rule.
    /// </summary>
    /// <param name="batch">Sequence.</param>
    /// <param name="head">Query head.</param>
    /// <param name="queries">Queries that take part: after a token selection fewer than <see cref="QueryLength"/>.</param>
    /// <param name="keys">Keys that take part; the queries stand at their end.</param>
    public long CausalPairs(int batch, int head, int queries, int keys)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(queries);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queries, QueryLength);
        ArgumentOutOfRangeException.ThrowIfNegative(keys);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(keys, KeyLength);
        ReadOnlySpan<int> columns = Columns(batch, head);
        int[] slashes = HasSlashes
            ? [.. Enumerable.Range(0, KeyLength).Where(offset => HasSlash(batch, head, offset))]
            : [];
        long pairs = 0;
        for (int block = 0; block * BlockQuery < queries; block++)
        {
            // Positions of the block's queries: the first one's, and the one after the last one's.
            int first = block * BlockQuery + keys - queries, end = Math.Min((block + 1) * BlockQuery, queries) + keys - queries;
            for (int key = 0; key < keys && key < end; key += BlockKey)
            {
                if (Visits(batch, head, block, key / BlockKey))
                    pairs += PairsBelow(first, end, key, Math.Min(key + BlockKey, keys));
            }
            foreach (int column in columns)
            {
                if (column >= keys || Visits(batch, head, block, column / BlockKey))
                    continue;
                for (int query = Math.Max(first, column); query < end; query++)
                    pairs += HasSlash(batch, head, query - column) ? 0 : 1;
            }
            foreach (int slash in slashes)
            {
                for (int query = Math.Max(first, slash); query < end; query++)
                    pairs += Visits(batch, head, block, (query - slash) / BlockKey) ? 0 : 1;
            }
        }
        return pairs;
    }

    /// <summary>Pairs of query positions [first, end) and keys [from, to) whose key is not behind the query.</summary>
    private static long PairsBelow(int first, int end, int from, int to)
    {
        long pairs = 0;
        for (int query = Math.Max(first, from); query < end; query++)
        {
            if (query >= to - 1)
                return pairs + (long)(end - query) * (to - from);
            pairs += query + 1 - from;
        }
        return pairs;
    }
}
