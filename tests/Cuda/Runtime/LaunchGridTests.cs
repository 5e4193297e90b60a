namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class LaunchGridTests
{
    private static readonly ProblemShape s_shape = new(Batch: 3, QueryHeads: 8, KeyValueHeads: 2, QueryLength: 129, KeyLength: 1025, HeadDim: 64);

    [Theory]
    [InlineData(PhaseScope.Sequence, 1, 1, 3)]
    [InlineData(PhaseScope.QueryHead, 1, 8, 3)]
    [InlineData(PhaseScope.KeyTile, 9, 1, 3)]
    [InlineData(PhaseScope.KeyValueHeadKeyTile, 9, 2, 3)]
    [InlineData(PhaseScope.QueryHeadKeyTile, 9, 8, 3)]
    [InlineData(PhaseScope.QueryHeadQueryTile, 2, 8, 3)]
    public void The_scope_is_the_grid(PhaseScope scope, int x, int y, int z) =>
        Assert.Equal(new LaunchGrid(x, y, z), LaunchGrid.Of(scope, in s_shape, 128, "k"));

    [Theory]
    [InlineData(1, 1)]
    [InlineData(127, 1)]
    [InlineData(128, 1)]
    [InlineData(129, 2)]
    [InlineData(1 << 20, 8192)]
    [InlineData(int.MaxValue, 16777216)]
    public void Tiles_cover_every_key(int keys, int tiles) =>
        Assert.Equal(tiles, LaunchGrid.Of(PhaseScope.KeyTile, s_shape with { KeyLength = keys }, 128, "k").X);

    [Fact]
    public void No_keys_are_no_blocks()
    {
        Assert.True(LaunchGrid.Of(PhaseScope.KeyTile, s_shape with { KeyLength = 0 }, 128, "k").IsEmpty);
        Assert.False(LaunchGrid.Of(PhaseScope.QueryHead, s_shape with { KeyLength = 0 }, 128, "k").IsEmpty);
    }

    [Fact]
    public void What_a_grid_cannot_hold_is_refused_by_name()
    {
        LaunchGrid.Of(PhaseScope.QueryHead, s_shape with { QueryHeads = 65_535, Batch = 65_535 }, 128, "k");
        var heads = Assert.Throws<NotSupportedException>(
            () => LaunchGrid.Of(PhaseScope.QueryHead, s_shape with { QueryHeads = 65_536 }, 128, "my_kernel"));
        Assert.Contains("my_kernel", heads.Message, StringComparison.Ordinal);
        Assert.Contains("65536", heads.Message, StringComparison.Ordinal);
        var batch = Assert.Throws<NotSupportedException>(
            () => LaunchGrid.Of(PhaseScope.Sequence, s_shape with { Batch = 70_000 }, 128, "my_kernel"));
        Assert.Contains("70000", batch.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    public void A_tile_that_is_none_is_refused(int tile)
    {
        Assert.Throws<InvalidOperationException>(() => LaunchGrid.Of(PhaseScope.QueryHeadQueryTile, in s_shape, tile, "k"));
        Assert.Equal(new LaunchGrid(1, 8, 3), LaunchGrid.Of(PhaseScope.QueryHead, in s_shape, tile, "k"));
    }
}
