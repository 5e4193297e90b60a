using Xunit;

namespace AttnCompose.Testing;

// Blocks count the rows that take part: after a token selection those of the compressed sequence.
internal sealed partial class StageRun
{
    private const int WordBits = 64;

    /// <summary>
    /// A query block visits blocks of keys that take part and that its last query may see; those in which a rule decides are
    /// partial; columns ascend among the keys; and every query that may see a key sees one.
    /// </summary>
    /// <param name="mask">The pipeline's mask.</param>
    /// <param name="hasRules">Whether it has rules that change scores or hide keys.</param>
    public void HasBlockForm(AttentionMask mask, bool hasRules) => ForEachHead((b, h) =>
    {
        int keys = Positions(b, h).Length, begin = QueryBegin(b, h);
        int[] columns = [.. _blocks!.Columns(b, h)];
        Assert.True(
            columns.Zip(columns.Skip(1)).All(pair => pair.First < pair.Second) && columns.All(column => column >= 0 && column < keys),
            $"{Where(b, h)}: columns do not ascend among the {keys} keys that take part.");
        for (int i = 0; i * _blocks.BlockQuery < keys - begin; i++)
        {
            int last = Math.Min((i + 1) * _blocks.BlockQuery, keys - begin) - 1 + begin;
            for (int j = 0; j < _blocks.Words * WordBits; j++)
            {
                if (!IsSet(_blocks.Visit(b, h, i), j))
                    continue;
                string where = $"{Where(b, h)} query block {i} visits key block {j}";
                Assert.True(j * (long)_blocks.BlockKey < keys, $"{where}, and {keys} keys take part.");
                Assert.True(
                    mask == AttentionMask.Full || j * _blocks.BlockKey <= last, $"{where}, which none of its queries may see.");
                Assert.True(
                    IsSet(_blocks.Partial(b, h, i), j) == hasRules,
                    hasRules ? $"{where}, where rules decide, and not as a partial one." : $"{where} as a partial one, and there is no rule.");
            }
        }
        for (int place = begin; place < keys; place++)
            Assert.True(Seen(mask, b, h, place, keys).Any(), $"{Where(b, h)}: query {place - begin} may see a key and sees none.");
    });

    /// <summary>Of the pairs of blocks that the mask leaves, some are not visited, or there would be nothing to see.</summary>
    public void LeavesBlocksOut(AttentionMask mask)
    {
        int visited = 0, possible = 0;
        ForEachHead((b, h) =>
        {
            (int v, int p) = Visited(mask, b, h);
            (visited, possible) = (visited + v, possible + p);
        });
        Assert.True(visited < possible, $"{_inputs.Name}: all {possible} pairs of blocks are visited.");
    }

    /// <summary>A head visits every block that the mask leaves, and has nothing beside them.</summary>
    public void IsDense(AttentionMask mask, int head)
    {
        for (int b = 0; b < _inputs.Shape.Batch; b++)
        {
            (int visited, int possible) = Visited(mask, b, head);
            Assert.True(visited == possible, $"{Where(b, head)}: a dense head visits {visited} of {possible} pairs of blocks.");
            Assert.True(_blocks!.Columns(b, head).IsEmpty, $"{Where(b, head)}: a dense head has columns.");
            Assert.True(_blocks.Slashes(b, head).IndexOfAnyExcept(0UL) < 0, $"{Where(b, head)}: a dense head has slashes.");
        }
    }

    /// <summary>A head has the choice that it has in another run.</summary>
    public void HasHeadOf(StageRun other, int head)
    {
        for (int b = 0; b < _inputs.Shape.Batch; b++)
            IsAs(other, b, b, head);
    }

    /// <summary>Key blocks that a query block visits, ascending.</summary>
    public int[] KeyBlocks(int batch, int head, int queryBlock) =>
        [.. Enumerable.Range(0, _blocks!.KeyBlocks).Where(j => _blocks.Visits(batch, head, queryBlock, j))];

    /// <summary>Query blocks of a head that have a query.</summary>
    public int QueryBlocks(int batch, int head) =>
        (Positions(batch, head).Length - QueryBegin(batch, head) + _blocks!.BlockQuery - 1) / _blocks.BlockQuery;

    /// <summary>
    /// The keys that a query sees, before rules: indices among the rows that take part, each once.
    /// </summary>
    /// <param name="mask">The pipeline's mask.</param>
    /// <param name="batch">Sequence.</param>
    /// <param name="head">Query head.</param>
    /// <param name="place">Index of the query's own row.</param>
    /// <param name="keys">Rows that take part.</param>
    private IEnumerable<int> Seen(AttentionMask mask, int batch, int head, int place, int keys)
    {
        IEnumerable<int> seen = Enumerable.Range(0, mask == AttentionMask.Causal ? place + 1 : keys);
        if (_blocks is not { } blocks)
            return seen;
        int block = (place - QueryBegin(batch, head)) / blocks.BlockQuery;
        int[] columns = [.. blocks.Columns(batch, head)];
        return seen.Where(key => blocks.Visits(batch, head, block, key / blocks.BlockKey)
            || Array.BinarySearch(columns, key) >= 0 || blocks.HasSlash(batch, head, place - key));
    }

    private (int Visited, int Possible) Visited(AttentionMask mask, int batch, int head)
    {
        int keys = Positions(batch, head).Length, begin = QueryBegin(batch, head), visited = 0, possible = 0;
        for (int i = 0; i < QueryBlocks(batch, head); i++)
        {
            int last = Math.Min((i + 1) * _blocks!.BlockQuery, keys - begin) - 1 + begin;
            int blocks = ((mask == AttentionMask.Causal ? last + 1 : keys) + _blocks.BlockKey - 1) / _blocks.BlockKey;
            possible += blocks;
            visited += KeyBlocks(batch, head, i).Count(j => j < blocks);
        }
        return (visited, possible);
    }

    // What query blocks without a query hold has no meaning.
    private void HasBlocksOf(StageRun other, int batch, int otherBatch, int head)
    {
        for (int i = 0; i < QueryBlocks(batch, head); i++)
        {
            Assert.Equal(other.KeyBlocks(otherBatch, head, i), KeyBlocks(batch, head, i));
            foreach (int j in KeyBlocks(batch, head, i))
                Assert.Equal(other._blocks!.IsPartial(otherBatch, head, i, j), _blocks!.IsPartial(batch, head, i, j));
        }
        if (QueryBlocks(batch, head) == 0)
            return;
        Assert.Equal(other._blocks!.Columns(otherBatch, head).ToArray(), _blocks!.Columns(batch, head).ToArray());
        Assert.Equal(other._blocks.Slashes(otherBatch, head).ToArray(), _blocks.Slashes(batch, head).ToArray());
    }

    private static bool IsSet(ReadOnlySpan<ulong> words, int bit) => (words[bit / WordBits] >> (bit % WordBits) & 1) != 0;
}
