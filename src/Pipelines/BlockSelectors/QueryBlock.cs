using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>Where one block of queries stands among the keys that take part.</summary>
/// <remarks>
/// The <em>diagonal</em> of a query is its own key; below 0 for the first queries where there are more queries than keys.
/// </remarks>
internal readonly struct QueryBlock
{
    private readonly int _blockKey;

    /// <summary>The query block of a number below <see cref="Count"/>.</summary>
    public QueryBlock(in RowSet rows, BlockMask blocks, AttentionMask mask, int index)
    {
        _blockKey = blocks.BlockKey;
        Begin = index * blocks.BlockQuery;
        End = Math.Min(Begin + blocks.BlockQuery, rows.QueryCount);
        FirstDiagonal = rows.QueryBegin + Begin;
        LastDiagonal = rows.QueryBegin + End - 1;
        int keys = mask == AttentionMask.Causal ? Math.Max(0, LastDiagonal + 1) : rows.KeyCount;
        KeyBlocks = (keys + blocks.BlockKey - 1) / blocks.BlockKey;
    }

    /// <summary>Its first query among those that take part.</summary>
    public int Begin { get; }

    /// <summary>One past its last query.</summary>
    public int End { get; }

    /// <summary>Diagonal of its first query.</summary>
    public int FirstDiagonal { get; }

    /// <summary>Diagonal of its last query.</summary>
    public int LastDiagonal { get; }

    /// <summary>Key blocks that hold a key which one of its queries may see: these, from block 0 on.</summary>
    public int KeyBlocks { get; }

    /// <summary>Whether a key block holds the own key of one of the queries.</summary>
    public bool HoldsDiagonal(int keyBlock) =>
        (long)keyBlock * _blockKey <= LastDiagonal && FirstDiagonal < ((long)keyBlock + 1) * _blockKey;

    /// <summary>Query blocks of a head that have a query.</summary>
    public static int Count(in RowSet rows, BlockMask blocks) => (rows.QueryCount + blocks.BlockQuery - 1) / blocks.BlockQuery;
}
