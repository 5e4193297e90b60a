using System.Text;
using System.Text.Json;
using AttnCompose.Cli.Bench;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Tests.Bench;

public sealed class TuneTests
{
    private static TuneTime Time(string what, string way, int length, double ms) =>
        new(what, way, length, SampleStatistics.Of([ms, ms, ms]));

    private static TuneTime[] Gather(params (int Length, double Ahead, double Loop)[] at) =>
    [
        .. at.SelectMany(each => new[]
        {
            Time(TuneTime.Gather, "ahead", each.Length, each.Ahead), Time(TuneTime.Gather, "in the loop", each.Length, each.Loop),
        }),
    ];

    private static CudaTuning Choose(params TuneTime[] times) => TuneChoice.Of(times, CudaTuning.Default);

    [Fact]
    public void Without_times_the_defaults_stay() => Assert.Equal(CudaTuning.Default, Choose());

    [Fact]
    public void Keys_are_gathered_ahead_from_the_length_on_from_which_that_is_faster()
    {
        Assert.Equal(2048, Choose(Gather((1024, 2, 1), (2048, 1, 2), (4096, 1, 2), (8192, 1, 2))).GatherLength);
        Assert.Equal(1024, Choose(Gather((1024, 1, 2), (2048, 1, 2))).GatherLength);
        Assert.Equal(int.MaxValue, Choose(Gather((4096, 2, 1), (8192, 2, 1), (16384, 2, 1))).GatherLength);
        // One slow sample in between is weighed, not obeyed.
        Assert.Equal(2048, Choose(Gather((1024, 2, 1), (2048, 1, 2), (4096, 1.1, 1), (8192, 1, 2))).GatherLength);
    }

    [Fact]
    public void Within_noise_the_default_stays()
    {
        Assert.Equal(8192, Choose(Gather((4096, 1.004, 1.005), (8192, 1, 1.001), (16384, 1, 1.3))).GatherLength);
        Assert.Equal(8, Choose(Time(TuneTime.Team, "3", 8192, 0.0199), Time(TuneTime.Team, "8", 8192, 0.02)).TeamBlocks);
    }

    [Fact]
    public void The_fastest_number_of_blocks_by_all_lengths_is_taken() => Assert.Equal(4, Choose(
        Time(TuneTime.Team, "4", 8192, 0.012), Time(TuneTime.Team, "4", 32768, 0.018),
        Time(TuneTime.Team, "3", 8192, 0.010), Time(TuneTime.Team, "3", 32768, 0.025),
        Time(TuneTime.Team, "8", 8192, 0.020), Time(TuneTime.Team, "8", 32768, 0.020)).TeamBlocks);

    [Theory]
    [InlineData(0.008, 0.028, 2)] // a launch 4 us, a graph 8
    [InlineData(0.009, 0.028, 3)]
    [InlineData(0.002, 0.028, 2)] // one kernel is never a graph
    [InlineData(0.900, 0.028, 21)] // never: no call of more kernels than 20 is a graph
    public void A_graph_is_made_where_it_costs_no_more_than_launching(double graph, double apart, int kernels) => Assert.Equal(
        kernels, Choose(Time(TuneTime.Graph, "7", 1024, graph), Time(TuneTime.Apart, "7", 1024, apart)).GraphKernels);

    private static TuneTime[] Tiles(AttentionMask mask, int length, params (string Way, double Ms)[] at) =>
        [.. at.Select(each => Time(TuneTime.Tile(mask), each.Way, length, each.Ms))];

    [Fact]
    public void Each_mask_and_length_has_the_tiles_that_are_fastest_there()
    {
        TuneTime[] times =
        [
            .. Tiles(AttentionMask.Causal, 1024, ("default", 1), ("128x176x2", 1.2), ("128x128x3", 0.9)),
            .. Tiles(AttentionMask.Causal, 2048, ("default", 2), ("128x176x2", 1.9), ("128x128x3", 2)),
            .. Tiles(AttentionMask.Causal, 8192, ("default", 10), ("128x176x2", 9.95), ("128x128x3", 11)), // within noise
            .. Tiles(AttentionMask.Full, 8192, ("default", 10), ("128x176x2", 10.5), ("128x128x3", 10)),
            .. Tiles(AttentionMask.Full, 32768, ("default", 100), ("128x176x2", 90), ("128x128x3", 99)),
        ];
        AttentionTile?[] chosen = [.. TuneChoice.Tiles(times, 128, ElementType.BFloat16).Select(each => each.Tile)];
        Assert.Equal([new(128, 128, 3), null, null, new(128, 176, 2)], chosen); // causal short, long; full short, long
    }

    [Fact]
    public void The_report_has_choices_and_times()
    {
        TuneTime[] times = [.. Gather((1024, 2, 1), (2048, 1, 2)), .. Tiles(AttentionMask.Full, 8192, ("default", 2), ("128x176x2", 1))];
        var result = new TuneResult(Choose(times), TuneChoice.Tiles(times, 128, ElementType.BFloat16), times);
        Assert.Equal(4, result.Tunings.Count());
        Assert.All(result.Tunings, each => Assert.Equal(2048, each.Tuning.GatherLength));
        Assert.Equal(new AttentionTile(128, 176, 2), Assert.Single(result.Tunings, each => each.Tuning.AttentionTile is not null).Tuning.AttentionTile);
        var text = new StringWriter();
        result.Write(text);
        Assert.Contains("GatherLength 2K (default 8K)", text.ToString(), StringComparison.Ordinal);
        Assert.Contains(
            "AttentionTile causal short default, causal long default, full short default, full long 128x176x2 (default 128x128x2)",
            text.ToString(), StringComparison.Ordinal);
        using JsonDocument json = JsonDocument.Parse(Encoding.UTF8.GetString(TuneResult.Json("a device", null, [result])));
        JsonElement of = json.RootElement.GetProperty("classes")[0];
        Assert.Equal(2048, of.GetProperty("gather_length").GetInt32());
        Assert.Equal(6, of.GetProperty("times").GetArrayLength());
        Assert.Equal("128x176x2", of.GetProperty("tiles")[3].GetProperty("tile").GetString());
        Assert.Equal(JsonValueKind.Null, of.GetProperty("tiles")[0].GetProperty("tile").ValueKind);
        Assert.Equal(JsonValueKind.Null, json.RootElement.GetProperty("stored").ValueKind);
    }

    [Theory]
    [InlineData("--samples must be at least 7", "--samples", "3")]
    [InlineData("--head-dim takes multiples of 8", "--head-dim", "100")]
    [InlineData("--dtype takes bf16 and fp16", "--dtype", "fp32")]
    [InlineData("Only a CUDA device is tuned", "--device", "cpu")]
    public void What_cannot_be_tuned_is_wrong_usage(string said, params string[] arguments) =>
        Assert.Contains(said, CliResult.Run([], ["tune", .. arguments]).FailedWith(CommandLine.WrongUsage), StringComparison.Ordinal);
}
