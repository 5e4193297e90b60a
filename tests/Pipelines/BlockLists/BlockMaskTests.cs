namespace AttnCompose.Pipelines.Tests.BlockLists;

/// <summary>The host's block list: what goes in comes out, in every form, and what cannot be is refused.</summary>
public sealed class BlockMaskTests
{
    [Fact]
    public void A_dense_mask_comes_out_as_it_went_in()
    {
        var random = new Random(1);
        const int Batch = 2, Heads = 3, QueryLength = 300, KeyLength = 64 * 130 + 1; // 5 query blocks, 131 key blocks: three words
        bool[] visit = [.. Enumerable.Range(0, Batch * Heads * 5 * 131).Select(_ => random.Next(3) == 0)];
        bool[] partial = [.. visit.Select(_ => random.Next(2) == 0)];
        BlockMask mask = BlockMask.FromDense(visit, Batch, Heads, QueryLength, KeyLength, 64, 64, partial);
        Assert.Equal((5, 131, 3), (mask.QueryBlocks, mask.KeyBlocks, mask.Words));
        int i = 0;
        for (int b = 0; b < Batch; b++)
        {
            for (int h = 0; h < Heads; h++)
            {
                for (int q = 0; q < 5; q++)
                {
                    for (int k = 0; k < 131; k++, i++)
                    {
                        Assert.Equal(visit[i], mask.Visits(b, h, q, k));
                        Assert.Equal(visit[i] && partial[i], mask.IsPartial(b, h, q, k));
                    }
                }
            }
        }
    }

    [Fact]
    public void The_arrays_of_a_PyTorch_BlockMask_are_taken()
    {
        // One sequence, one head, 3 query blocks by 4 key blocks; what follows a row's count is no number of a block.
        BlockMask mask = BlockMask.FromKeyBlockLists(
            kvNumBlocks: [1, 0, 2], kvIndices: [0, 9, 9, 9, 9, 9, 9, 9, 3, 1, 9, 9],
            fullKvNumBlocks: [0, 2, 1], fullKvIndices: [9, 9, 9, 9, 2, 0, 9, 9, 0, 9, 9, 9],
            batch: 1, queryHeads: 1, queryLength: 384, keyLength: 512, blockQuery: 128, blockKey: 128);
        string Text(int q) => string.Concat(Enumerable.Range(0, 4)
            .Select(k => mask.IsPartial(0, 0, q, k) ? 'p' : mask.Visits(0, 0, q, k) ? 'f' : '.'));
        Assert.Equal(["p...", "f.f.", "fp.p"], Enumerable.Range(0, 3).Select(Text));
    }

    [Fact]
    public void A_list_of_one_head_serves_all_heads()
    {
        BlockMask mask = BlockMask.FromDense([true, false], 1, 1, 64, 128, 64, 64);
        Assert.True(mask.Visits(3, 7, 0, 0));
        Assert.False(mask.Visits(3, 7, 0, 1));
    }

    [Fact]
    public void Columns_and_slashes_come_out_as_they_went_in()
    {
        var mask = new BlockMask();
        mask.Reset(2, 2, 100, 200, 64, 64, columns: true, slashes: true);
        mask.SetColumns(1, 0, [0, 5, 199]);
        mask.AddSlash(0, 1, 0);
        mask.AddSlash(0, 1, 199);
        Assert.Equal([0, 5, 199], mask.Columns(1, 0).ToArray());
        Assert.Empty(mask.Columns(0, 0).ToArray());
        Assert.Equal([0, 199], Enumerable.Range(0, 200).Where(o => mask.HasSlash(0, 1, o)));
        Assert.False(mask.HasSlash(0, 1, -1) || mask.HasSlash(0, 1, 200) || mask.HasSlash(1, 1, 0));
        mask.Reset(2, 2, 100, 200, 64, 64, columns: true, slashes: true);
        Assert.True(mask.Columns(1, 0).IsEmpty);
        Assert.False(mask.HasSlash(0, 1, 0));
    }

    [Fact]
    public void Causal_density_counts_what_the_diagonal_leaves()
    {
        // 4 blocks by 4: ten are left by the diagonal; one visited block lies behind it.
        var visit = new bool[16];
        visit[0] = visit[5] = visit[4] = visit[3] = true;
        Assert.Equal(0.3, BlockMask.FromDense(visit, 1, 1, 256, 256, 64, 64).CausalDensity);
    }

    [Fact]
    public void What_cannot_be_is_refused()
    {
        Assert.Contains("[1, 2, 2, 2] are 8", Message<ArgumentException>(() => BlockMask.FromDense(new bool[7], 1, 2, 128, 128, 64, 64)));
        Assert.Contains("key block 2", Message<ArgumentException>(
            () => BlockMask.FromKeyBlockLists([1], [2], [], [], 1, 1, 64, 128, 64, 64)));
        Assert.Contains("kvNumBlocks[0] is 3", Message<ArgumentException>(
            () => BlockMask.FromKeyBlockLists([3], [0, 1], [], [], 1, 1, 64, 128, 64, 64)));
        Assert.Contains("no multiple", Message<ArgumentException>(
            () => BlockMask.FromKeyBlockLists([0, 0], [0, 1, 0], [], [], 1, 1, 128, 128, 64, 64)));
        var mask = new BlockMask();
        Assert.Contains("empty", Message<InvalidOperationException>(() => mask.Visits(0, 0, 0, 0)));
        mask.Reset(1, 2, 100, 100, 64, 64);
        Assert.Contains("without columns", Message<InvalidOperationException>(() => mask.SetColumns(0, 0, [1])));
        Assert.Contains("without slashes", Message<InvalidOperationException>(() => mask.AddSlash(0, 0, 1)));
        Assert.Throws<ArgumentOutOfRangeException>(() => mask.Add(0, 2, 0, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => mask.Add(0, 0, 0, 2));
        mask.Reset(1, 2, 100, 100, 64, 64, columns: true);
        Assert.Contains("Column 1 is 4", Message<ArgumentException>(() => mask.SetColumns(0, 0, [5, 4])));
        Assert.Contains("Column 0 is 100", Message<ArgumentException>(() => mask.SetColumns(0, 0, [100])));

        static string Message<T>(Action action) where T : Exception => Assert.Throws<T>(action).Message;
    }
}
