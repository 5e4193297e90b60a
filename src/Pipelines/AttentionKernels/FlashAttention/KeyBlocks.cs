namespace AttnCompose.Pipelines.Cpu;

/// <summary>Which keys the attention loop visits. A struct, so that the loop is compiled for it.</summary>
internal interface IKeyBlocks
{
    /// <summary>Whether it visits every key, so that there is no list.</summary>
    static abstract bool IsEvery { get; }

    /// <summary>Queries of a tile, at most <see cref="IMicroKernel.TileQueries"/>; a tile lies within one query block.</summary>
    static abstract int TileQueries { get; }

    /// <summary>Whether there are columns beside the blocks.</summary>
    bool HasColumns { get; }

    /// <summary>The list; not to be asked for where <see cref="IsEvery"/>.</summary>
    BlockMask Mask { get; }
}

/// <summary>Every key.</summary>
internal readonly struct EveryBlock : IKeyBlocks
{
    /// <inheritdoc/>
    public static bool IsEvery => true;

    /// <inheritdoc/>
    public static int TileQueries => IMicroKernel.TileQueries;

    /// <inheritdoc/>
    public bool HasColumns => false;

    /// <inheritdoc/>
    public BlockMask Mask => throw new InvalidOperationException("Every block is visited: there is no list.");
}

/// <summary>The keys of a list.</summary>
internal readonly struct ListedBlocks(BlockMask mask) : IKeyBlocks
{
    /// <summary>What the sizes of all blocks are multiples of.</summary>
    public const int Unit = 64;

    /// <inheritdoc/>
    public static bool IsEvery => false;

    /// <inheritdoc/>
    public static int TileQueries => Unit;

    /// <inheritdoc/>
    public bool HasColumns => mask.HasColumns;

    /// <inheritdoc/>
    public BlockMask Mask => mask;
}
