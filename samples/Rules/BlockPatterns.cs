namespace AttnCompose.Samples;

/// <summary>
/// Which blocks of keys a block of queries visits beside its own: by the numbers of both, and how many blocks of keys lie between them.
/// benchmarks/rule_peers.py computes the same.
/// </summary>
internal static class BlockPatterns
{
    /// <summary>Patterns by name.</summary>
    public static (string Name, Func<int, int, int, bool> Visits)[] All { get; } =
    [
        ("every block", static (_, _, _) => true),
        ("random 1/4", static (row, column, _) => Hash(row, column) % 4 == 0),
        ("random 1/2", static (row, column, _) => Hash(row, column) % 2 == 0),
        ("structured 1/4", static (_, column, before) => column < 2 || before < 64 || column % 8 == 0),
        ("structured 1/2", static (_, column, before) => column < 2 || before < 160 || column % 4 == 0),
        ("eight a row", static (_, column, before) => column < 2 || before < 6),
    ];

    // Multiplications and shifts that mix all bits.
    private static uint Hash(int row, int column)
    {
        uint hash = unchecked((uint)row * 0x9E3779B1u ^ (uint)column * 0x85EBCA77u);
        hash = unchecked((hash ^ hash >> 15) * 0x2C1B3C6Du);
        hash = unchecked((hash ^ hash >> 12) * 0x297A2D39u);
        return hash ^ hash >> 15;
    }
}
