using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>Those of block selectors: sums over a long window's map, and what must hold whatever blocks are chosen.</summary>
internal sealed partial class LongChecks<T>
{
    private IEnumerable<(string Name, Func<string?> Check)> OfBlockSelectors =>
    [
        ("streaming: every block is dense", EveryBlock),
        ("flexprefill: columns and slashes of the window", WindowSums),
        ("flexprefill: permuted heads", () => PermutedHeads(CreateFlexPrefill)),
        ("flexprefill: constant values", () => ConstantValues(CreateFlexPrefill)),
        ("vertical-slash: permuted heads", () => PermutedHeads(CreateVerticalSlash)),
        ("vertical-slash: constant values", () => ConstantValues(CreateVerticalSlash)),
    ];

    private ICudaAttentionPipeline CreateFlexPrefill() => Flexprefill.Create(_device);

    private ICudaAttentionPipeline CreateVerticalSlash() => VerticalSlash.Create(_device);

    private string? EveryBlock()
    {
        using ICudaAttentionPipeline pipeline = Streaming.Create(_device, new() { Sink = 0, Local = _length });
        return Differences(Dense, _tensors.Run(pipeline));
    }

    /// <summary>Sampled columns and slashes of every head, from the reference's log-sum-exps.</summary>
    private string? WindowSums()
    {
        using ICudaAttentionPipeline pipeline = CreateFlexPrefill();
        var sums = new BufferObserver("columns", "diagonals");
        _device.Observer = sums;
        try
        {
            _tensors.Run(pipeline);
        }
        finally
        {
            _device.Observer = null;
        }
        int prefix = _length - Window;
        float[] columns =
            [.. Enumerable.Range(0, Heads).SelectMany(head => sums.Of("columns").AsSpan(head * _length, prefix).ToArray())];
        return ScoreFailure(columns, prefix) ?? SlashFailure(sums.Of("diagonals"));
    }

    /// <summary>Of the diagonals that tiles of keys have shares of, [heads, tiles, diagonals of a tile]: row - column + tile - 1.</summary>
    private string? SlashFailure(float[] diagonals)
    {
        const int KeyTile = 128, OfTile = 2 * KeyTile;
        int tiles = (_length + KeyTile - 1) / KeyTile;
        double[] logSumExps = WindowLogSumExps();
        var random = new Random(53);
        for (int head = 0; head < Heads; head++)
        {
            float[] queries = WindowQueries(head);
            for (int sample = 0; sample < SampledScores; sample++)
            {
                int distance = sample switch { 0 => 0, 1 => _length - 1, _ => random.Next(_length) };
                double mean = 0, shares = 0;
                for (int row = 0; row < Window; row++)
                {
                    int token = _length - Window + row - distance;
                    if (token >= 0)
                        mean += Probability(queries, row, token, logSumExps[head * Window + row]) / Window;
                }
                for (int tile = 0; tile < tiles; tile++)
                {
                    int place = distance - _length + Window + (tile + 1) * KeyTile - 1;
                    if (place >= 0 && place < Window + KeyTile - 1)
                        shares += diagonals[(head * tiles + tile) * OfTile + place];
                }
                if (!(Math.Abs(shares - mean) <= ScoreError * mean))
                    return Text($"head {head}: slash {distance} has {shares}, the truth is {mean}");
            }
        }
        return null;
    }
}
