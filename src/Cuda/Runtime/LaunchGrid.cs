namespace AttnCompose.Cuda;

/// <summary>Thread blocks of a launch. A grid with a 0 in it has nothing to do.</summary>
internal readonly record struct LaunchGrid(int X, int Y, int Z)
{
    /// <summary>Most heads, and most sequences, of a launch.</summary>
    public const int MaxYz = 65_535;

    public bool IsEmpty => X == 0 || Y == 0 || Z == 0;

    /// <summary>The grid of a scope.</summary>
    /// <exception cref="NotSupportedException">Heads or batch pass what a grid can hold.</exception>
    public static LaunchGrid Of(PhaseScope scope, in ProblemShape shape, int tile, string entry)
    {
        LaunchGrid grid = scope switch
        {
            PhaseScope.Sequence => new(1, 1, shape.Batch),
            PhaseScope.QueryHead => new(1, shape.QueryHeads, shape.Batch),
            PhaseScope.KeyTile => new(Tiles(shape.KeyLength, tile, entry), 1, shape.Batch),
            PhaseScope.KeyValueHeadKeyTile => new(Tiles(shape.KeyLength, tile, entry), shape.KeyValueHeads, shape.Batch),
            PhaseScope.QueryHeadKeyTile => new(Tiles(shape.KeyLength, tile, entry), shape.QueryHeads, shape.Batch),
            PhaseScope.QueryHeadQueryTile => new(Tiles(shape.QueryLength, tile, entry), shape.QueryHeads, shape.Batch),
            _ => throw new ArgumentOutOfRangeException(nameof(scope), scope, $"{entry} has an unknown scope."),
        };
        if (grid.Y > MaxYz)
            throw new NotSupportedException(
                $"{entry}: a launch takes at most {MaxYz} heads; this one has {grid.Y}. Split the heads over several calls.");
        if (grid.Z > MaxYz)
            throw new NotSupportedException(
                $"{entry}: a launch takes at most {MaxYz} sequences; the batch has {grid.Z}. Split the batch over several calls.");
        return grid;
    }

    private static int Tiles(int length, int tile, string entry)
    {
        if (tile <= 0)
            throw new InvalidOperationException(
                $"{entry}_shape says a tile of {tile}; a scope that is cut into tiles needs a positive one.");
        return (int)(((long)length + tile - 1) / tile);
    }
}
