using System.Globalization;
using System.Text.Json;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Bench;

/// <summary>A time that a choice is made by.</summary>
/// <param name="What">Which choice.</param>
/// <param name="Way">What was tried.</param>
/// <param name="Length">Queries and keys.</param>
/// <param name="Milliseconds">Its samples.</param>
internal sealed record TuneTime(string What, string Way, int Length, SampleStatistics Milliseconds)
{
    /// <summary>The way that is none of the chosen shapes.</summary>
    public const string DefaultTile = "default";

    /// <summary>Dense calls under a mask, by the shape of the attention loop's tiles.</summary>
    public static string Tile(AttentionMask mask) => mask == AttentionMask.Causal ? "tiles, causal" : "tiles, full";

    /// <summary>Whole calls, by how keys are gathered.</summary>
    public const string Gather = "gather";

    /// <summary>The selection kernel, by the most blocks that share a head's keys.</summary>
    public const string Team = "team";

    /// <summary>Host time of a call as a graph, by its kernels.</summary>
    public const string Graph = "host, as a graph";

    /// <summary>Host time of a call whose kernels are launched one by one.</summary>
    public const string Apart = "host, one by one";
}

/// <summary>Times to a tuning. A default stays where nothing is faster than it by more than noise.</summary>
internal static class TuneChoice
{
    private const double Noise = 0.01;

    /// <summary>The choices that the times speak for; the others are as they were.</summary>
    public static CudaTuning Of(IReadOnlyList<TuneTime> times, CudaTuning defaults) => defaults with
    {
        GatherLength = GatherLength([.. times.Where(time => time.What == TuneTime.Gather)], defaults.GatherLength),
        TeamBlocks = TeamBlocks([.. times.Where(time => time.What == TuneTime.Team)], defaults.TeamBlocks),
        GraphKernels = GraphKernels(times, defaults.GraphKernels),
    };

    /// <summary>The shape of tiles for each class of calls; null where the default stays.</summary>
    public static IReadOnlyList<(TuningClass Class, AttentionTile? Tile)> Tiles(
        IReadOnlyList<TuneTime> times, int headDim, ElementType element) =>
    [
        .. TuningClass.Of(headDim, element).Select(of => (of, Tile([.. times.Where(time =>
            time.What == TuneTime.Tile(of.Mask) && time.Length >= TuningClass.LongFrom == of.IsLong)]))),
    ];

    /// <summary>The shape with the least time relative to the default's, over all lengths alike.</summary>
    private static AttentionTile? Tile(TuneTime[] times)
    {
        Dictionary<int, double> usual = times.Where(time => time.Way == TuneTime.DefaultTile)
            .ToDictionary(time => time.Length, time => time.Milliseconds.Median);
        var costs = times.GroupBy(time => time.Way).ToDictionary(
            way => way.Key, way => way.Average(time => time.Milliseconds.Median / usual[time.Length]));
        if (costs.Count == 0)
            return null;
        (string best, double cost) = costs.MinBy(way => way.Value);
        return cost < 1 - Noise && AttentionTile.TryParse(best, out AttentionTile tile) ? tile : null;
    }

    /// <summary>
    /// Each threshold costs at every length what its way costs there; the cheapest by the sum of times relative to the better way.
    /// The default is a candidate too, and wins ties.
    /// </summary>
    private static int GatherLength(TuneTime[] times, int usual)
    {
        var lengths = times.GroupBy(time => time.Length).OrderBy(group => group.Key).Select(group => (
            Length: group.Key,
            Ahead: group.First(time => time.Way == "ahead").Milliseconds.Median,
            Loop: group.First(time => time.Way != "ahead").Milliseconds.Median)).ToArray();
        if (lengths.Length == 0)
            return usual;
        double Cost(int threshold) =>
            lengths.Average(at => (at.Length >= threshold ? at.Ahead : at.Loop) / Math.Min(at.Ahead, at.Loop));
        int best = lengths.Select(at => at.Length).Append(int.MaxValue).MinBy(Cost);
        return Cost(best) < Cost(usual) - Noise / lengths.Length ? best : usual;
    }

    private static int TeamBlocks(TuneTime[] times, int usual)
    {
        var ways = times.GroupBy(time => int.Parse(time.Way, CultureInfo.InvariantCulture))
            .ToDictionary(way => way.Key, way => way.Sum(time => time.Milliseconds.Median));
        if (!ways.TryGetValue(usual, out double now))
            return usual;
        int best = ways.MinBy(way => way.Value).Key;
        return ways[best] < now * (1 - Noise) ? best : usual;
    }

    /// <summary>From as many kernels on as a graph costs no more than launching them.</summary>
    private static int GraphKernels(IReadOnlyList<TuneTime> times, int usual)
    {
        TuneTime? graph = times.FirstOrDefault(time => time.What == TuneTime.Graph);
        TuneTime? apart = times.FirstOrDefault(time => time.What == TuneTime.Apart);
        if (graph is null || apart is null)
            return usual;
        double launch = apart.Milliseconds.Median / int.Parse(apart.Way, CultureInfo.InvariantCulture);
        return (int)Math.Clamp(Math.Ceiling(graph.Milliseconds.Median / launch), 2, CallGraphs.MostKernels + 1);
    }
}

/// <summary>What was chosen for a head dim and element type, and why.</summary>
/// <param name="Tuning">What all classes of calls share.</param>
/// <param name="Tiles">The shape of tiles of each class; null where the default stays.</param>
/// <param name="Times">What was measured.</param>
internal sealed record TuneResult(
    CudaTuning Tuning, IReadOnlyList<(TuningClass Class, AttentionTile? Tile)> Tiles, IReadOnlyList<TuneTime> Times)
{
    private int HeadDim => Tiles[0].Class.HeadDim;

    private ElementType Element => Tiles[0].Class.Element;

    /// <summary>The tuning of each class of calls.</summary>
    public IEnumerable<(TuningClass Class, CudaTuning Tuning)> Tunings =>
        Tiles.Select(chosen => (chosen.Class, Tuning with { AttentionTile = chosen.Tile }));

    /// <summary>The times as a table, and the choices.</summary>
    public void Write(TextWriter output)
    {
        output.WriteLine($"head dim {HeadDim}, {BenchCase.ElementName(Element)}:");
        output.WriteLine("| choice | way | L | ms | middle half |");
        output.WriteLine("|---|---|---|---|---|");
        foreach (TuneTime time in Times)
        {
            SampleStatistics ms = time.Milliseconds;
            output.WriteLine(
                $"| {time.What} | {time.Way} | {BenchCase.LengthName(time.Length)} | {BenchTables.Milliseconds(ms.Median)} |"
                + $" {BenchTables.Milliseconds(ms.LowerQuartile)} to {BenchTables.Milliseconds(ms.UpperQuartile)} |");
        }
        CudaTuning usual = CudaTuning.Default;
        output.WriteLine($"GatherLength {Threshold(Tuning.GatherLength)} (default {Threshold(usual.GatherLength)}),"
            + $" TeamBlocks {Tuning.TeamBlocks} ({usual.TeamBlocks}), GraphKernels {Tuning.GraphKernels} ({usual.GraphKernels})");
        if (AttentionTile.DefaultFor(HeadDim) is { } tile)
            output.WriteLine($"AttentionTile {string.Join(", ", Tiles.Select(Words))} (default {tile})");
    }

    /// <summary>Choices and times as JSON.</summary>
    /// <param name="device">What they are for.</param>
    /// <param name="file">Where they are stored; null where they are not.</param>
    /// <param name="results">The classes of calls.</param>
    public static byte[] Json(string device, string? file, IReadOnlyList<TuneResult> results)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("schema", 1);
            json.WriteString("device", device);
            json.WriteString("stored", file);
            json.WriteStartArray("classes");
            foreach (TuneResult result in results)
            {
                json.WriteStartObject();
                json.WriteNumber("head_dim", result.HeadDim);
                json.WriteString("dtype", BenchCase.ElementName(result.Element));
                json.WriteNumber("gather_length", result.Tuning.GatherLength);
                json.WriteNumber("team_blocks", result.Tuning.TeamBlocks);
                json.WriteNumber("graph_kernels", result.Tuning.GraphKernels);
                json.WriteStartArray("tiles");
                foreach (var (of, tile) in result.Tiles)
                {
                    json.WriteStartObject();
                    json.WriteString("mask", of.MaskWord);
                    json.WriteString("calls", of.LengthWord);
                    json.WriteString("tile", tile?.ToString());
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                json.WriteStartArray("times");
                foreach (TuneTime time in result.Times)
                {
                    json.WriteStartObject();
                    json.WriteString("choice", time.What);
                    json.WriteString("way", time.Way);
                    json.WriteNumber("length", time.Length);
                    json.WriteNumber("ms", time.Milliseconds.Median);
                    json.WriteNumber("samples", time.Milliseconds.Count);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return stream.ToArray();
    }

    private static string Words((TuningClass Class, AttentionTile? Tile) chosen) =>
        $"{chosen.Class.MaskWord} {chosen.Class.LengthWord} {chosen.Tile?.ToString() ?? TuneTime.DefaultTile}";

    private static string Threshold(int length) => length == int.MaxValue ? "never" : BenchCase.LengthName(length);
}
