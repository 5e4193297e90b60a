using System.Globalization;

namespace AttnCompose.Cuda;

/// <summary>
/// Shape of the tiles of a wgmma attention loop whose keys the copy engine brings: dense, or over keys gathered ahead. Each head
/// dim has a default and a few others, which compile without spills too; which is fastest depends on the chip, the mask and the
/// length, so <c>attncompose tune</c> measures them. Loops with rules or over block lists, loops that copy rows themselves, and the
/// mma.sync loop have one shape a head dim.
/// </summary>
/// <param name="Queries">Queries of a thread block, 64 a warpgroup.</param>
/// <param name="Keys">Keys of a tile.</param>
/// <param name="Stages">Tiles of keys, and of values, that shared memory has room for.</param>
public readonly record struct AttentionTile(int Queries, int Keys, int Stages)
{
    // As in attention/wgmma_ring.cuh of the device code; a test compares the two.
    private static readonly (int HeadDim, AttentionTile Default, AttentionTile[] Others)[] s_shapes =
    [
        (64, new(192, 128, 2), [new(128, 128, 2), new(128, 176, 2), new(192, 112, 3)]),
        (96, new(192, 96, 2), [new(128, 128, 2), new(128, 160, 2)]),
        (128, new(128, 128, 2), [new(128, 128, 3), new(128, 160, 2), new(128, 176, 2), new(192, 80, 2)]),
        (192, new(128, 96, 2), [new(128, 80, 2), new(128, 112, 2)]),
        (256, new(128, 80, 2), [new(128, 64, 2)]),
    ];

    /// <summary>Head dims that have shapes to choose from.</summary>
    public static IReadOnlyList<int> HeadDims { get; } = [.. s_shapes.Select(shapes => shapes.HeadDim)];

    /// <summary>The shape of a head dim where none is chosen and the copy engine brings the keys; null without a wgmma loop.</summary>
    public static AttentionTile? DefaultFor(int headDim) => Find(headDim) is { HeadDim: > 0 } shapes ? shapes.Default : null;

    /// <summary>The other shapes of a head dim; none where there is no choice.</summary>
    public static IReadOnlyList<AttentionTile> OthersFor(int headDim) => Find(headDim).Others ?? [];

    /// <summary>Queries, keys and stages, as in <c>128x176x2</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Queries}x{Keys}x{Stages}");

    /// <summary>Reads what <see cref="ToString"/> writes.</summary>
    /// <returns>Whether the text is one.</returns>
    public static bool TryParse(string text, out AttentionTile tile)
    {
        ArgumentNullException.ThrowIfNull(text);
        tile = default;
        if (text.Split('x') is not [var queries, var keys, var stages])
            return false;
        bool isRead = Number(queries, out int q) & Number(keys, out int k) & Number(stages, out int s);
        tile = isRead ? new(q, k, s) : default;
        return isRead;

        static bool Number(string text, out int value) =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value > 0;
    }

    private static (int HeadDim, AttentionTile Default, AttentionTile[]? Others) Find(int headDim) =>
        Array.Find(s_shapes, shapes => shapes.HeadDim == headDim);
}
