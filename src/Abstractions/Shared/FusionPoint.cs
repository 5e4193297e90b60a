namespace AttnCompose;

/// <summary>Where an attention main loop lets other stages in. A kernel declares the points that it offers.</summary>
[System.Flags]
public enum FusionPoint
{
    /// <summary>The loop is closed.</summary>
    None = 0,

    /// <summary>Which row of query, key and value stands at a place of the loop: a compress stage hooks in here.</summary>
    RowSource = 1,

    /// <summary>Scores and masks, element by element: rules hook in here.</summary>
    Score = 2,

    /// <summary>Where a result row goes, and what becomes of rows that were not computed: a decompress stage hooks in here.</summary>
    RowDestination = 4,

    /// <summary>Which key blocks a query block visits: a block selector hooks in here.</summary>
    BlockList = 8,
}
