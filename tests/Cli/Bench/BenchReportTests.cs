using System.Xml.Linq;
using AttnCompose.Cli.Bench;

namespace AttnCompose.Cli.Tests.Bench;

/// <summary>What is made of samples: statistics, counts, files, tables, plots.</summary>
public sealed class BenchReportTests : IDisposable
{
    private static readonly BenchCase s_dense = new() { Workload = Workloads.Dense, Length = 1024 };

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Statistics_are_medians_and_quartiles()
    {
        SampleStatistics odd = SampleStatistics.Of([5, 1, 4, 2, 3]);
        Assert.Equal(new SampleStatistics(5, 3, 1, 2, 4, 5), odd);
        Assert.Equal(2.5, SampleStatistics.Of([4, 1, 2, 3]).Median);
        Assert.Equal(new SampleStatistics(1, 7, 7, 7, 7, 7), SampleStatistics.Of([7]));
        Assert.True(double.IsNaN(SampleStatistics.Of([]).Median));
        Assert.Equal(9.9, SampleStatistics.Quantile([.. Enumerable.Range(0, 11).Select(i => (double)i)], 0.99), 1e-9);
    }

    [Fact]
    public void Operations_and_bytes_are_those_of_the_work_that_is_kept()
    {
        Assert.Equal(4.0 * 128 * 32 * (1024 * 1025 / 2), s_dense.Operations);
        Assert.Equal(4.0 * 128 * 32 * 1024 * 1024, (s_dense with { Mask = AttentionMask.Full }).Operations);
        Assert.Equal(2.0 * 128 * 1024 * (32 + 8 + 8 + 32), s_dense.Bytes);
        BenchCase half = s_dense with { Workload = Workloads.TokenSparse, Keep = 0.5, Kept = 512 };
        Assert.Equal(4.0 * 128 * 32 * (512 * 513 / 2), half.Operations);
        Assert.Equal(2.0 * 128 * (512 * 32 + 1024 * 16 + 1024 * 32), half.Bytes);
        var row = new BenchRow { Implementation = "a", Case = s_dense, Samples = [2, 2, 2] };
        Assert.Equal(s_dense.Operations / 2e9, row.Teraflops);
        Assert.Equal(0, (row with { Error = "gone" }).Teraflops);
    }

    [Fact]
    public void A_sparse_call_is_shown_beside_dense_attention_over_what_it_keeps()
    {
        BenchCase half = s_dense with { Workload = Workloads.TokenSparse, Keep = 0.5, Kept = 512 };
        BenchCase kernel = half with { Workload = Workloads.Kernel };
        var text = new StringWriter();
        BenchTables.Write(text, Report(
            Row("sparse", true, 3, half),
            Row("dense", true, 2, half with { Workload = Workloads.Contiguous, Length = 512, Kept = null }),
            Row("sparse", true, 0.25, kernel) with { Part = "select" },
            Row("sparse", true, 0.25, kernel) with { Part = "gather" },
            Row("sparse", true, 2.6, kernel) with { Part = "attend_gathered" },
            Row("sparse", true, 9, kernel with { Keep = 0.75 }) with { Part = "select" }), null);
        Assert.Contains("3.000 ms, 1.000 ms beyond the 2.000 ms", text.ToString(), StringComparison.Ordinal);
        Assert.Contains("it takes 2.500 ms, so its loop has 80.0 % of the rate", text.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_report_survives_its_file()
    {
        BenchReport report = Report(
            Row("ours", true, 1.25, s_dense with { Graph = true }) with
            {
                MemoryBytes = 1L << 33, ClockMegahertz = 1755, PowerWatts = 612.5, Note = "a note",
            },
            Row("cudnn, grouped heads", false, 2, s_dense with { Mask = AttentionMask.Full, Element = ElementType.Float16 }),
            Row("sparse", true, 3, s_dense with { Workload = Workloads.TokenSparse, Keep = 0.5, Kept = 511, Coverage = 0.49 }),
            new BenchRow { Implementation = "broken", Case = s_dense, Error = "out of memory", Part = "attend" });
        string path = _folder.PathOf("out.json");
        using (FileStream stream = File.Create(path))
            BenchJson.Write(stream, report);
        BenchReport read = BenchJson.Read(path);
        Assert.Equal((report.Created, report.Command, report.Ceilings), (read.Created, read.Command, read.Ceilings));
        Assert.Equal(report.Machine, read.Machine);
        Assert.Equal(report.Rows.Count, read.Rows.Count);
        for (int i = 0; i < read.Rows.Count; i++)
        {
            Assert.Equal(report.Rows[i].Samples, read.Rows[i].Samples);
            Assert.Equal(report.Rows[i] with { Samples = [] }, read.Rows[i] with { Samples = [] });
        }
    }

    [Theory]
    [InlineData("{", "no report")]
    [InlineData("{}", "no report")]
    [InlineData("""{"schema": 2, "created": "2026-01-01", "rows": []}""", "schema 2")]
    [InlineData("""{"schema": 1, "created": "2026-01-01", "rows": [{"implementation": "x", "dtype": "int4"}]}""", "int4")]
    [InlineData("""{"schema": 1, "created": "yesterday", "rows": []}""", "no report")]
    public void What_is_no_report_is_said_to_be_none(string json, string said)
    {
        string path = _folder.PathOf("peers.json");
        File.WriteAllText(path, json);
        var error = Assert.Throws<CommandException>(() => BenchJson.Read(path));
        Assert.Contains(path, error.Message);
        Assert.Contains(said, error.Message);
    }

    [Fact]
    public void A_csv_has_one_line_a_row_and_quotes_what_has_commas()
    {
        BenchReport report = Report(Row("cudnn, \"best\"", false, 2, s_dense), Row("ours", true, 1, s_dense));
        string[] lines = BenchJson.ToCsv(report).Split('\n');
        Assert.Equal(4, lines.Length);
        Assert.StartsWith("\"cudnn, \"\"best\"\"\",false,dense,,1024,,,32,8,128,bf16,causal,false,7,2,", lines[1]);
        Assert.StartsWith("ours,true,", lines[2]);
        Assert.Equal(lines[0].Split(',').Length, lines[2].Split(',').Length);
    }

    [Fact]
    public void Ours_is_compared_with_the_best_way_to_run_each_peer()
    {
        BenchRow ours = Row("dense-attention", true, 1, s_dense);
        BenchRow[] theirs =
        [
            Row("cudnn, expanded heads", false, 1.6, s_dense),
            Row("cudnn, grouped heads", false, 1.5, s_dense),
            Row("cudnn, 64 heads", false, 2.2, s_dense with { Heads = 64 }), // twice the work: the better rate
            Row("cudnn, broken", false, 0.1, s_dense) with { Error = "no" },
            Row("flash-attention-2, grouped heads", false, 3, s_dense),
            Row("other length", false, 0.1, s_dense with { Length = 2048 }),
            Row("other mask", false, 0.1, s_dense with { Mask = AttentionMask.Full }),
            Row("other share", false, 0.1, s_dense with { Keep = 0.5 }),
        ];
        var ratios = BenchTables.Ratios([ours], theirs);
        Assert.Equal(
            [("cudnn, grouped heads", 1.5), ("cudnn, 64 heads", 1.1), ("flash-attention-2, grouped heads", 3)],
            ratios.Select(ratio => (ratio.Peer.Implementation, Math.Round(ratio.Faster, 9))));

        using var text = new StringWriter();
        BenchTables.Write(text, Report(ours), Report(theirs));
        Assert.Contains("| cudnn, 64 heads, by rate at 64 heads | 2.200 | 1.10x |", text.ToString());
        string[] lines = text.ToString().Split('\n');
        Assert.Contains("50 %", lines.Single(line => line.StartsWith("| dense, causal, bf16 |", StringComparison.Ordinal)));
    }

    [Fact]
    public void Break_even_is_the_length_from_which_on_sparse_is_always_faster()
    {
        BenchRow At(int length, double milliseconds) => Row("x", true, milliseconds, s_dense with { Length = length });
        BenchRow[] dense = [At(1024, 1), At(2048, 4), At(4096, 16), At(8192, 64)];
        Assert.Equal(4096, BenchTables.BreakEven(dense, [At(1024, 0.5), At(2048, 5), At(4096, 10), At(8192, 20)]));
        Assert.Null(BenchTables.BreakEven(dense, [At(1024, 0.5), At(8192, 70)]));
        Assert.Equal(1024, BenchTables.BreakEven(dense, [At(1024, 0.5)]));
    }

    [Fact]
    public void Plots_are_well_formed_and_have_every_line()
    {
        var rows = new List<BenchRow>();
        foreach (int length in (int[])[4096, 8192, 131072])
        {
            rows.Add(Row("dense <ours> & co", true, length / 1000.0, s_dense with { Length = length }));
            rows.Add(Row("cudnn, best way", false, length / 900.0, s_dense with { Length = length }));
            rows.Add(Row("cudnn, other way", false, length / 800.0, s_dense with { Length = length, KeyValueHeads = 32 }));
            rows.Add(Row("cudnn, 64 heads", false, length / 1000.0, s_dense with { Length = length, Heads = 64 }));
            foreach (double keep in (double[])[0.25, 0.5])
            {
                rows.Add(Row("sparse", true, length * keep / 1000, s_dense with
                {
                    Workload = Workloads.TokenSparse, Length = length, Keep = keep, Kept = (int)(keep * length),
                }));
            }
        }
        XDocument svg = XDocument.Parse(SvgPlots.Draw(Report([.. rows]))!);
        string[] texts = [.. svg.Descendants().Where(node => node.Name.LocalName == "text").Select(node => node.Value)];
        string[] labels =
        [
            "dense <ours> & co", "cudnn", "sparse, keep 0.25", "sparse, keep 0.5", "sparse, 128K", "tokens", "ms",
            "share of the tokens kept", "4K", "128K",
        ];
        Assert.All(labels, label => Assert.Contains(label, texts));
        // Two shares over three lengths, two dense lines of three points; then three lengths of two points.
        Assert.Equal(4 * 3 + 3 * 2, svg.Descendants().Count(node => node.Name.LocalName == "circle"));
        Assert.DoesNotContain("NaN", svg.ToString());
        Assert.Null(SvgPlots.Draw(Report(rows[0])));
    }

    [Fact]
    public void The_time_left_follows_what_was_done()
    {
        Assert.Equal("0:30", BenchProgress.TimeLeft(TimeSpan.FromSeconds(10), 1, 4));
        Assert.Equal("2:00:00", BenchProgress.TimeLeft(TimeSpan.FromHours(1), 1, 3));
        Assert.Equal("0:00", BenchProgress.TimeLeft(TimeSpan.FromHours(1), 3, 3));
    }

    private static BenchRow Row(string name, bool own, double milliseconds, BenchCase of) => new()
    {
        Implementation = name, IsOwn = own, Case = of, Samples = [.. Enumerable.Repeat(milliseconds, 7)],
    };

    private static BenchReport Report(params BenchRow[] rows) => new()
    {
        Created = new DateTime(2026, 11, 22, 10, 30, 0, DateTimeKind.Utc),
        Command = "attncompose bench",
        Machine = [new("device", "a GPU"), new("driver", "1.2")],
        Ceilings = new(rows[0].Teraflops > 0 ? Math.Round(2 * rows[0].Teraflops, 3) : 800, 700, 4.25, "a note"),
        Rows = rows,
    };
}
