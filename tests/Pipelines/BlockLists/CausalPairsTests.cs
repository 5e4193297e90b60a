namespace AttnCompose.Pipelines.Tests.BlockLists;

/// <summary>How many pairs a block list visits, counted pair by pair.</summary>
public sealed class CausalPairsTests
{
    [Theory]
    [InlineData(200, 200, 64, 64, false, false)]
    [InlineData(130, 330, 64, 128, false, false)]
    [InlineData(200, 200, 128, 64, true, false)]
    [InlineData(150, 190, 64, 64, true, true)]
    public void Each_pair_that_is_visited_counts_once(
        int queries, int keys, int blockQuery, int blockKey, bool columns, bool slashes)
    {
        var random = new Random(queries + keys);
        var mask = new BlockMask();
        mask.Reset(1, 2, queries, keys, blockQuery, blockKey, columns, slashes);
        for (int head = 0; head < 2; head++)
        {
            for (int block = 0; block < mask.QueryBlocks * mask.KeyBlocks; block++)
            {
                if (random.Next(3) == 0)
                    mask.Add(0, head, block / mask.KeyBlocks, block % mask.KeyBlocks);
            }
            if (columns)
                mask.SetColumns(0, head, [3, 64, 65, keys - 1]);
            if (slashes)
            {
                mask.AddSlash(0, head, 0);
                mask.AddSlash(0, head, 61);
            }
        }
        // The whole list, and the part of it that a token selection leaves.
        foreach ((int q, int k) in new[] { (queries, keys), (queries - 37, keys - 50), (0, 10) })
        {
            Assert.Equal(Visited(0, q, k), mask.CausalPairs(0, 0, q, k));
            Assert.Equal(Visited(1, q, k), mask.CausalPairs(0, 1, q, k));
        }
        Assert.Throws<ArgumentOutOfRangeException>(() => mask.CausalPairs(0, 0, queries + 1, keys));

        long Visited(int head, int ofQueries, int ofKeys)
        {
            long pairs = 0;
            for (int i = 0; i < ofQueries; i++)
            {
                int own = i + ofKeys - ofQueries;
                for (int j = 0; j < ofKeys && j <= own; j++)
                {
                    bool visited = mask.Visits(0, head, i / blockQuery, j / blockKey)
                        || (columns && mask.Columns(0, head).Contains(j))
                        || (slashes && mask.HasSlash(0, head, own - j));
                    pairs += visited ? 1 : 0;
                }
            }
            return pairs;
        }
    }
}
