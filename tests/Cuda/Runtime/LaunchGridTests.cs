namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class LaunchGridTests
{
    private const int Multiprocessors = 132;

    private static readonly ProblemShape s_shape = new(Batch: 3, QueryHeads: 8, KeyValueHeads: 2, QueryLength: 129, KeyLength: 1025, HeadDim: 64);

    private static LaunchGrid Of(PhaseScope scope, in ProblemShape shape, int tile, string entry) =>
        LaunchGrid.Of(scope, in shape, new LaunchShape(128, tile, 0), Multiprocessors, entry);

    [Theory]
    [InlineData(PhaseScope.Sequence, 1, 1, 3)]
    [InlineData(PhaseScope.QueryHead, 1, 8, 3)]
    [InlineData(PhaseScope.QueryHeadHalf, 1, 16, 3)]
    [InlineData(PhaseScope.KeyTile, 9, 1, 3)]
    [InlineData(PhaseScope.KeyValueHeadKeyTile, 9, 2, 3)]
    [InlineData(PhaseScope.QueryHeadKeyTile, 9, 8, 3)]
    [InlineData(PhaseScope.QueryHeadQueryTile, 2, 8, 3)]
    public void The_scope_is_the_grid(PhaseScope scope, int x, int y, int z) =>
        Assert.Equal(new LaunchGrid(x, y, z), Of(scope, in s_shape, 128, "k"));

    [Theory]
    [InlineData(1, 1)]
    [InlineData(127, 1)]
    [InlineData(128, 1)]
    [InlineData(129, 2)]
    [InlineData(1 << 20, 8192)]
    [InlineData(int.MaxValue, 16777216)]
    public void Tiles_cover_every_key(int keys, int tiles) =>
        Assert.Equal(tiles, Of(PhaseScope.KeyTile, s_shape with { KeyLength = keys }, 128, "k").X);

    [Theory]
    [InlineData(64, 32, 512, 4)] // as many as fill the device
    [InlineData(64, 32, 64, 2)] // as many as the kernel says
    [InlineData(64, 200, 512, 1)] // at least one a head
    [InlineData(3, 1, 512, 3)] // no more than there are tiles
    public void Blocks_that_walk_query_tiles_are_few(int tiles, int heads, int most, int blocks)
    {
        ProblemShape shape = s_shape with { QueryHeads = heads, KeyValueHeads = heads, QueryLength = 128 * tiles };
        var kernel = new LaunchShape(128, 128, 0, Segments: most, Heads: 1, Resident: 1);
        Assert.Equal(
            new LaunchGrid(blocks, heads, 3),
            LaunchGrid.Of(PhaseScope.QueryHeadQueryTile, in shape, in kernel, Multiprocessors, "k"));
    }

    [Fact]
    public void No_keys_are_no_blocks()
    {
        Assert.True(Of(PhaseScope.KeyTile, s_shape with { KeyLength = 0 }, 128, "k").IsEmpty);
        Assert.False(Of(PhaseScope.QueryHead, s_shape with { KeyLength = 0 }, 128, "k").IsEmpty);
    }

    [Fact]
    public void What_a_grid_cannot_hold_is_refused_by_name()
    {
        Of(PhaseScope.QueryHead, s_shape with { QueryHeads = 65_535, Batch = 65_535 }, 128, "k");
        var heads = Assert.Throws<NotSupportedException>(
            () => Of(PhaseScope.QueryHead, s_shape with { QueryHeads = 65_536 }, 128, "my_kernel"));
        Assert.Contains("my_kernel", heads.Message, StringComparison.Ordinal);
        Assert.Contains("65536", heads.Message, StringComparison.Ordinal);
        var batch = Assert.Throws<NotSupportedException>(
            () => Of(PhaseScope.Sequence, s_shape with { Batch = 70_000 }, 128, "my_kernel"));
        Assert.Contains("70000", batch.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    public void A_tile_that_is_none_is_refused(int tile)
    {
        Assert.Throws<InvalidOperationException>(() => Of(PhaseScope.QueryHeadQueryTile, in s_shape, tile, "k"));
        Assert.Equal(new LaunchGrid(1, 8, 3), Of(PhaseScope.QueryHead, in s_shape, tile, "k"));
    }

    [Theory]
    [InlineData(1, 32, 4096, 1)] // too few keys to share
    [InlineData(1, 32, 131072, 3)] // four would not run at once: 32 clusters of them do not fit 120 multiprocessors
    [InlineData(1, 32, 262144, 6)] // it takes so many to hold them
    [InlineData(1, 1, 131072, 8)]
    [InlineData(64, 32, 32768, 1)] // heads enough for the device
    [InlineData(1, 32, 1 << 20, 3)] // no team holds them: as many as run at once
    public void Blocks_share_a_head_where_it_is_done_sooner(int batch, int heads, int keys, int team)
    {
        ProblemShape shape = s_shape with { Batch = batch, QueryHeads = heads, KeyValueHeads = 1, KeyLength = keys };
        var kernel = new LaunchShape(1024, 1, 36_160, Team: 8, HeldKeys: 45_056);
        LaunchGrid grid = LaunchGrid.Of(PhaseScope.QueryHead, in shape, in kernel, Multiprocessors, "k");
        Assert.Equal(new LaunchGrid(team, heads, batch, team), grid);
        int run = (keys + team - 1) / team;
        Assert.InRange(grid.SharedBytes(in shape, in kernel) - 36_160, 4 * Math.Min(run, 45_056), 4 * Math.Min(run + 31, 45_056));
        kernel = kernel with { Team = 1 };
        Assert.Equal(1, LaunchGrid.Of(PhaseScope.QueryHead, in shape, in kernel, Multiprocessors, "k").Team);
    }

    [Theory]
    [InlineData(8, 32768, 6)] // of 16 halves; teams of eight would not run at once
    [InlineData(64, 32768, 1)]
    public void Both_halves_of_a_head_have_a_team(int heads, int keys, int team)
    {
        ProblemShape shape = s_shape with { Batch = 1, QueryHeads = heads, KeyValueHeads = 1, KeyLength = keys };
        var kernel = new LaunchShape(1024, 1, 37_120, Team: 8, HeldKeys: 45_056);
        Assert.Equal(
            new LaunchGrid(team, 2 * heads, 1, team),
            LaunchGrid.Of(PhaseScope.QueryHeadHalf, in shape, in kernel, Multiprocessors, "k"));
    }

    [Theory]
    [InlineData(32, 8, 131072, 16, 8)] // 8 parts of 4 heads: 128 blocks
    [InlineData(32, 8, 256, 2, 8)] // no more segments than tiles
    [InlineData(32, 1, 131072, 16, 8)] // the heads of a key/value head in parts
    [InlineData(4, 4, 131072, 33, 4)]
    [InlineData(1, 1, 1 << 20, 64, 1)] // what the stage has room for
    [InlineData(2048, 512, 131072, 1, 512)]
    [InlineData(32, 8, 0, 0, 8)]
    public void Segments_fill_the_device_whatever_the_batch(int heads, int keyValueHeads, int keys, int x, int y)
    {
        ProblemShape shape = s_shape with { QueryHeads = heads, KeyValueHeads = keyValueHeads, KeyLength = keys };
        var kernel = new LaunchShape(640, 128, 0, Segments: 64, Heads: 4, Resident: 1);
        LaunchGrid grid = LaunchGrid.Of(PhaseScope.KeyValueHeadKeySegment, in shape, in kernel, Multiprocessors, "k");
        Assert.Equal(new LaunchGrid(x, y, 3), grid);
        Assert.Equal(x == 0, grid.IsEmpty);
    }

    [Theory]
    [InlineData(8, 2, 131072, 132, 2)] // two blocks a multiprocessor
    [InlineData(8, 2, 1000, 32, 2)] // 8 tiles of each of 4 heads
    [InlineData(7, 7, 200, 2, 7)]
    [InlineData(8, 2, 0, 0, 2)]
    public void Blocks_that_take_all_heads_share_out_the_tiles_of_each(int heads, int keyValueHeads, int keys, int x, int y)
    {
        ProblemShape shape = s_shape with { QueryHeads = heads, KeyValueHeads = keyValueHeads, KeyLength = keys };
        var kernel = new LaunchShape(256, 128, 0, Segments: 1024, Resident: 2);
        Assert.Equal(
            new LaunchGrid(x, y, 3), LaunchGrid.Of(PhaseScope.KeyValueHeadKeySegment, in shape, in kernel, Multiprocessors, "k"));
    }
}
