namespace AttnCompose.Cuda;

/// <summary>
/// Thread blocks of a launch. A grid with a 0 in it has nothing to do. Blocks along X are one cluster where there is a
/// <paramref name="Team"/> of them.
/// </summary>
internal readonly record struct LaunchGrid(int X, int Y, int Z, int Team = 1)
{
    /// <summary>Most heads, and most sequences, of a launch.</summary>
    public const int MaxYz = 65_535;

    private const int KeyQuantum = 32; // runs of keys are whole multiples of this, as in the device code

    public bool IsEmpty => X == 0 || Y == 0 || Z == 0;

    /// <summary>The grid of a scope.</summary>
    /// <param name="scope">What one block, or one team of blocks, owns.</param>
    /// <param name="shape">Sizes.</param>
    /// <param name="kernel">What the kernel says of its launch.</param>
    /// <param name="multiprocessors">Of the device.</param>
    /// <param name="entry">The kernel, for messages.</param>
    /// <exception cref="NotSupportedException">Heads or batch pass what a grid can hold.</exception>
    public static LaunchGrid Of(
        PhaseScope scope, in ProblemShape shape, in LaunchShape kernel, int multiprocessors, string entry)
    {
        LaunchGrid grid = scope switch
        {
            PhaseScope.Sequence => Shared(1, shape.Batch, in shape, in kernel, multiprocessors),
            PhaseScope.QueryHead => Shared(shape.QueryHeads, shape.Batch, in shape, in kernel, multiprocessors),
            PhaseScope.QueryHeadHalf => Shared(checked(2 * shape.QueryHeads), shape.Batch, in shape, in kernel, multiprocessors),
            PhaseScope.KeyTile => new(Tiles(shape.KeyLength, kernel.Tile, entry), 1, shape.Batch),
            PhaseScope.KeyValueHeadKeyTile =>
                new(Tiles(shape.KeyLength, kernel.Tile, entry), shape.KeyValueHeads, shape.Batch),
            PhaseScope.KeyValueHeadKeySegment => Segmented(in shape, in kernel, multiprocessors, entry),
            PhaseScope.QueryHeadKeyTile => new(Tiles(shape.KeyLength, kernel.Tile, entry), shape.QueryHeads, shape.Batch),
            PhaseScope.QueryHeadQueryTile =>
                new(Walked(in shape, in kernel, multiprocessors, entry), shape.QueryHeads, shape.Batch),
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

    /// <summary>
    /// Dynamic shared memory of a block, bytes: what the kernel says, and room for the keys of its run, if they fit.
    /// </summary>
    public int SharedBytes(in ProblemShape shape, in LaunchShape kernel)
    {
        if (kernel.HeldKeys == 0 || X == 0)
            return kernel.SharedBytes;
        long run = (Up(shape.KeyLength, X) + KeyQuantum - 1) / KeyQuantum * KeyQuantum;
        return kernel.SharedBytes + (int)Math.Min(run, kernel.HeldKeys) * sizeof(int);
    }

    // The team that is done first: blocks of a head share out its keys, but fewer heads run at once. A cluster lies within one
    // group of multiprocessors, of which Hopper's have up to 18, most of them 16 or 18: five or seven blocks waste more of a
    // group than the sizes here, of which about an eleventh of the device is left over. Costs are in keys
    // that a block walks: what it does however few there are, what a team adds to that, and four times as many where the keys
    // are read from memory again in every pass.
    private static LaunchGrid Shared(int units, int batch, in ProblemShape shape, in LaunchShape kernel, int multiprocessors)
    {
        const int Block = 8192, Together = 4096, Streamed = 4;
        (long Cost, int Team) best = (long.MaxValue, 1);
        foreach (int team in (ReadOnlySpan<int>)[1, 2, 3, 4, 6, 8])
        {
            if (team > Math.Max(1, kernel.Team))
                break;
            int room = Math.Max(1, (team == 1 ? multiprocessors : multiprocessors - multiprocessors / 11) / team);
            long run = Up(shape.KeyLength, team);
            long keys = run * (run <= kernel.HeldKeys ? 1 : Streamed);
            long cost = Up((long)units * batch, room) * (Block + (team > 1 ? Together : 0) + keys);
            if (cost < best.Cost)
                best = (cost, team);
        }
        return new(best.Team, units, batch, best.Team);
    }

    // The batch is left out, so that a sequence's scores do not depend on its neighbours. Blocks that take all heads of a key/value head
    // share out the tiles of each, so there may be more of them than tiles.
    private static LaunchGrid Segmented(in ProblemShape shape, in LaunchShape kernel, int multiprocessors, string entry)
    {
        int group = shape.KeyValueHeads == 0 ? 0 : shape.QueryHeads / shape.KeyValueHeads;
        long units = shape.KeyValueHeads * Up(group, kernel.Heads == 0 ? Math.Max(1, group) : kernel.Heads);
        long tiles = (long)Tiles(shape.KeyLength, kernel.Tile, entry) * (kernel.Heads == 0 ? Math.Max(1, group) : 1);
        long filling = (long)multiprocessors * Math.Max(1, kernel.Resident) / Math.Max(1, units);
        return new((int)Math.Min(tiles, Math.Clamp(filling, 1, Math.Max(1, kernel.Segments))), checked((int)units), shape.Batch);
    }

    // Query tiles of a head; or fewer blocks that walk them, of a kernel that says how many work on a sequence at most, but one a head.
    private static int Walked(in ProblemShape shape, in LaunchShape kernel, int multiprocessors, string entry)
    {
        int tiles = Tiles(shape.QueryLength, kernel.Tile, entry);
        if (kernel.Segments == 0)
            return tiles;
        long filling = Math.Min((long)multiprocessors * Math.Max(1, kernel.Resident), kernel.Segments) / Math.Max(1, shape.QueryHeads);
        return (int)Math.Min(tiles, Math.Max(1, filling));
    }

    private static int Tiles(int length, int tile, string entry)
    {
        if (tile <= 0)
            throw new InvalidOperationException(
                $"{entry}_shape says a tile of {tile}; a scope that is cut into tiles needs a positive one.");
        return (int)Up(length, tile);
    }

    private static long Up(long value, int divisor) => (value + divisor - 1) / divisor;
}
