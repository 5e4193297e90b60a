using System.Globalization;
using AttnCompose.Cli.Compare;
using AttnCompose.Pipelines;
using AttnCompose.Testing;

namespace AttnCompose.Cli.Tests;

/// <summary><c>compare</c>: density, error and time of pipelines, and the heads that it makes.</summary>
public sealed class CompareTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_pipeline_that_visits_everything_has_no_error_and_one_that_drops_has_some()
    {
        string path = _folder.PathOf("out.md");
        CliResult result = CliResult.Run(
            "compare", "--length", "512", "--heads", "4", "--kv-heads", "2", "--head-dim", "64", "--samples", "1",
            "--pipeline", "streaming", "token-sparse-fixed", "--set", "Sink=512", "--set", "Count=200", "--markdown", path);
        Assert.True(result.Code == 0, result.Error);
        Assert.Contains(File.ReadAllText(path), result.Output);
        string[][] rows = Rows(File.ReadAllText(path));
        Assert.Equal(["dense-attention", "streaming", "token-sparse-fixed"], rows.Select(row => row[0]));
        foreach (string[] row in rows[..2])
            Assert.Equal(["100.0 %", "0.0000", "0.0000", "0.0000"], row[2..6]);
        // 200 of 512 tokens, and among them the causal half.
        Assert.Equal(100.0 * (200 * 201) / (512 * 513), double.Parse(rows[2][2][..^2], CultureInfo.InvariantCulture), 0.05);
        double[] errors = [.. rows[2][3..6].Select(text => double.Parse(text, CultureInfo.InvariantCulture))];
        // Rows that are left out are wrong by all they are.
        Assert.True(errors[0] > 0.5 && errors[1] < errors[0] && errors[1] > 0, $"errors {string.Join(", ", errors)}");
    }

    [Fact]
    public void A_sweep_compares_times_at_equal_error_on_a_file_s_tensors()
    {
        CliResult result = CliResult.Run(
            "compare", "--input", Repository.PathOf("tests/Pipelines/Golden/recall_layer4_2048.safetensors"), "--samples", "1",
            "--pipeline", "streaming", "--sweep", "--values", "Local=0.5L,0.1L", "--set", "Sink=128", "--equal-error", "0.000001,9");
        Assert.True(result.Code == 0, result.Error);
        // Of 2044 tokens.
        Assert.Contains("Sink=128 Local=1022", result.Output);
        Assert.Contains("Sink=128 Local=204", result.Output);
        Assert.Contains("| streaming | not reached |", result.Output);
    }

    [Fact]
    public void Without_names_every_pipeline_that_runs_alone_is_compared_and_swept()
    {
        CliResult result = CliResult.Run(
            "compare", "--length", "200", "--heads", "2", "--kv-heads", "1", "--head-dim", "32", "--samples", "1", "--sweep");
        Assert.True(result.Code == 0, result.Error);
        string[][] rows = [.. Rows(result.Output).Where(row => row.Length > 5)];
        string[] names = [.. ReadyPipelines.All.Where(CommonOptions.RunsAlone).Select(pipeline => pipeline.Name)];
        Assert.Equal(names.Order(), rows.Select(row => row[0]).Distinct().Order());
        Assert.All(names.Except(["dense-attention"]), name => Assert.True(rows.Count(row => row[0] == name) > 1, $"{name} is not swept."));
    }

    [Theory]
    [InlineData("--set", "Nonsense=1", "Nonsense")]
    [InlineData("--values", "Gamma=1", "--sweep")]
    [InlineData("--heads", "3", "--kv-heads")]
    [InlineData("--equal-error", "0", "--equal-error")]
    [InlineData("--model", "somewhere", "--prompts")]
    [InlineData("--samples", "0", "--samples")]
    [InlineData("--noise", "0", "--noise")]
    [InlineData("--noise", "1", "--noise")]
    [InlineData("--noise", "-0.1", "--noise")]
    [InlineData("--noise", "NaN", "--noise")]
    public void A_value_that_cannot_be_is_wrong_usage(string option, string value, string said) =>
        Assert.Contains(said, CliResult.Run("compare", "--length", "64", option, value).FailedWith(CommandLine.WrongUsage));

    [Fact]
    public void The_time_at_an_error_lies_between_the_points_that_nothing_beats()
    {
        ComparePoint[] points = [Point(0.01, 8), Point(0.04, 2), Point(0.02, 9), Point(0.16, 1)];
        Assert.Equal(4, ComparePoint.TimeAt(points, ErrorMeasure.Computed, 0.02)!.Value, 1e-9);
        Assert.Equal(2, ComparePoint.TimeAt(points, ErrorMeasure.Computed, 0.04)!.Value, 1e-9);
        Assert.Equal(1, ComparePoint.TimeAt(points, ErrorMeasure.Computed, 0.5));
        Assert.Null(ComparePoint.TimeAt(points, ErrorMeasure.Computed, 0.005));

        static ComparePoint Point(double error, double time) => new()
        {
            Tensors = "", Pipeline = "", Settings = "", Error = (1, error, 1), Milliseconds = time,
        };
    }

    [Theory]
    [InlineData(1024)]
    [InlineData(2048)]
    public void Synthetic_heads_have_the_parts_that_their_profiles_say(int length)
    {
        HeadTensors heads = SyntheticHeads.Make(new(1, 4, 1, length, length, 128), 3);
        // Sinks and the nearest keys hold about what the local profile gives them.
        Assert.InRange(Mean(0, row => row[..4].Sum()), 0.3, 0.6);
        Assert.InRange(Mean(0, row => row[^64..].Sum()), 0.2, 0.55);
        // Twenty-eight keys, sinks and heavy ones, hold most of the heavy profile.
        Assert.InRange(Mean(1, row => row.OrderDescending().Take(28).Sum()), 0.5, 0.95);
        // What neither sinks nor neighbours hold is most where slashes are, and a fifth or less where the profile is local.
        double Middle(double[] row) => row[4..^64].OrderDescending().Take(32).Sum();
        Assert.True(Mean(2, Middle) > 2 * Mean(0, Middle), $"{Mean(2, Middle)} against {Mean(0, Middle)}");
        // Another seed, other heads; the same seed, the same.
        Assert.NotEqual(heads.Query, SyntheticHeads.Make(heads.Shape, 4).Query);
        Assert.Equal(heads.Query, SyntheticHeads.Make(heads.Shape, 3).Query);

        // Of the last queries, since noise moves the shares of each.
        double Mean(int head, Func<double[], double> share) =>
            Enumerable.Range(length - 48, 48).Average(query => share(Row(heads, head, query)));
    }

    [Theory]
    [InlineData(0.001)]
    [InlineData(0.05)]
    [InlineData(0.6)]
    public void Synthetic_heads_have_as_much_noise_as_they_are_told(double noise)
    {
        const int length = 1024, dim = 128;
        ProblemShape shape = new(1, 4, 1, length, length, dim);
        HeadTensors told = SyntheticHeads.Make(shape, 3, noise), usual = SyntheticHeads.Make(shape, 3);
        Assert.Equal(usual.Key, told.Key);
        Assert.Equal(usual.Value, told.Value);
        (double[] Parts, double Noise)[] shares = [.. Enumerable.Range(0, 4).Select(head => Shares(told, head))];
        Assert.All(shares, of => Assert.Equal(noise, of.Noise, 0.02 * noise));
        // The other parts share out the rest as they do in the profile: 0.30, 0.15, 0.05 and 0.40 of 0.90.
        double[] slashes = [.. shares[2].Parts.Select(part => part / (1 - noise))];
        Assert.All(slashes.Zip([0.30 / 0.9, 0.05 / 0.9, 0.15 / 0.9, 0.40 / 0.9]), of => Assert.Equal(of.Second, of.First, 0.01));
        // Without the option each has its own.
        Assert.All(new[] { 0.1, 0.1, 0.1, 0.3 }.Zip(Enumerable.Range(0, 4)), of =>
            Assert.Equal(of.First, Shares(usual, of.Second).Noise, 0.02 * of.First));

        // What the last query gives the parts on their own: sinks, heavy tokens, band, slashes. A plain key weighs 1.
        static (double[] Parts, double Noise) Shares(HeadTensors heads, int head)
        {
            float[] query = heads.Query[((head + 1) * length * dim - dim)..((head + 1) * length * dim)];
            double Score(int key, int begin, int end) =>
                Enumerable.Range(begin, end - begin).Sum(d => (double)query[d] * heads.Key[key * dim + d]) / Math.Sqrt(dim);
            double Keys(int d) => Enumerable.Range(0, length).Where(key => heads.Key[key * dim + d] != 0)
                .Sum(key => Math.Exp(Score(key, d, d + 1)));
            double Added(int begin) => Enumerable.Range(0, length).Sum(key => Math.Exp(Score(key, begin, begin + dim / 4)) - 1);
            double[] masses = [Keys(0), Keys(1), Added(2), Added(2 + dim / 4)];
            double all = masses.Sum() + length;
            return ([.. masses.Select(mass => mass / all)], length / all);
        }
    }

    [Fact]
    public void Noise_is_of_synthetic_heads() => Assert.Contains("--length", CliResult.Run(
        "compare", "--noise", "0.1", "--input", Repository.PathOf("tests/Pipelines/Golden/recall_layer4_2048.safetensors"))
        .FailedWith(CommandLine.WrongUsage));

    [Fact]
    public void A_sweep_varies_options_of_a_stage_together_and_stages_in_every_combination()
    {
        var sweep = new Sweep([new("MinTokens", "0")], new Dictionary<string, string[]> { ["Coverage"] = ["0.1", "0.2"] });
        string[] sets = [.. sweep.Of(TokenSparseVerticalSlash.Descriptor, 1000)
            .Select(set => string.Join(' ', set.Select(setting => $"{setting.Key}={setting.Value}")))];
        Assert.Equal(8, sets.Length);
        Assert.Equal("MinTokens=0 Coverage=0.1 VerticalSize=100 SlashSize=200", sets[0]);
        Assert.Equal("MinTokens=0 Coverage=0.2 VerticalSize=10 SlashSize=10", sets[^1]);
        Assert.Equal(["MinTokens=0"], new Sweep([new("MinTokens", "0"), new("Coverage", "0.1")], new Dictionary<string, string[]>())
            .Of(TokenSparsePrefill.Descriptor, 1000).Select(set => $"{set[0].Key}={set[0].Value}"));
    }

    // Attention of a query of a head to the keys up to its own.
    private static double[] Row(HeadTensors heads, int head, int row)
    {
        (int length, int dim) = (heads.Shape.KeyLength, heads.Shape.HeadDim);
        float[] query = heads.Query[((head * length + row) * dim)..((head * length + row + 1) * dim)];
        double[] weights = [.. Enumerable.Range(0, row + 1).Select(j =>
            Math.Exp(Enumerable.Range(0, dim).Sum(d => (double)query[d] * heads.Key[j * dim + d]) / Math.Sqrt(dim)))];
        double sum = weights.Sum();
        return [.. weights.Select(weight => weight / sum)];
    }

    private static string[][] Rows(string markdown) =>
    [
        .. markdown.Split('\n').Where(line => line.StartsWith('|')).Skip(2)
            .Select(line => line.Trim('|').Split('|', StringSplitOptions.TrimEntries)),
    ];
}
