using AttnCompose.Conformance;
using AttnCompose.Cuda;

namespace AttnCompose.Pipelines.Tests;

/// <summary>The judge finds what is wrong: a right result, spoilt in one place, fails, and the failure replays.</summary>
public sealed class VerdictTests
{
    private static readonly PipelineConfig s_config = ReadyConfigs.Random(1) with
    {
        Element = ElementType.BFloat16, FloatOutput = false, Batch = 1, QueryHeads = 2, KeyValueHeads = 1, QueryLength = 200,
        KeyLength = 230, HeadDim = 64, VaryLengths = false, Content = TensorContent.OneHot, Sparse = true, Coverage = 0.3,
        MinTokens = 8, Layout = TensorLayout.Fused,
    };

    private static int KeptQuery(PipelineResult right) =>
        right.Positions![0].First(position => position >= s_config.KeyLength - s_config.QueryLength)
        - (s_config.KeyLength - s_config.QueryLength);

    private static PipelineResult Right(PipelineCase inputs)
    {
        using var device = AttentionDevice.Cpu(1);
        using IAttentionPipeline pipeline = ReadyConfigs.Create(inputs.Config, device);
        return inputs.Run(pipeline);
    }

    public static TheoryData<string, string> Spoils => new()
    {
        { "nothing", "" },
        { "a value row of the next token", "is not value row" },
        { "a row one ulp off", "is not value row" },
        { "a dropped row that is not zero", "not all +0" },
        { "a dropped row of -0", "not all +0" },
        { "a log-sum-exp", "log-sum-exp" },
        { "the window", "window" },
        { "order", "ascend" },
        { "a token beyond the keys", "outside" },
        { "a query begin", "query begin" },
        { "a score", "score 3" },
        { "raw scores", "device's scores choose" },
        { "a fault", "byte 5" },
        { "NaN", "NaN" },
    };

    [Theory]
    [MemberData(nameof(Spoils))]
    public void A_spoilt_result_fails(string what, string said)
    {
        var inputs = new PipelineCase(s_config);
        PipelineResult right = Right(inputs);
        int dim = s_config.HeadDim, query = KeptQuery(right), first = s_config.KeyLength - s_config.QueryLength;
        int dropped = Enumerable.Range(0, 60).First(row => !right.Positions![0].Contains(first + row));
        PipelineResult spoilt = right;
        switch (what)
        {
            case "a value row of the next token":
                inputs.Value.AsSpan((first + query + 1) * dim, dim).CopyTo(right.Output.AsSpan(query * dim));
                break;
            case "a row one ulp off":
                right.Output[query * dim] *= 1 + 1f / 128;
                break;
            case "a dropped row that is not zero":
                right.Output[dropped * dim + 1] = 1e-30f;
                break;
            case "a dropped row of -0":
                right.Output[dropped * dim + 1] = -0f;
                break;
            case "a log-sum-exp":
                right.LogSumExp[query] += 0.1f;
                break;
            case "the window":
                right.Positions![1][^1]--;
                right.Positions[1] = [.. right.Positions[1].Distinct()];
                break;
            case "order":
                right.Positions![1].AsSpan(0, 2).Reverse();
                break;
            case "a token beyond the keys":
                right.Positions![0][^1] = s_config.KeyLength;
                break;
            case "a query begin":
                right.QueryBegins![1]++;
                break;
            case "a score":
                right.Scores![1][3] += 0.01f;
                break;
            case "raw scores":
                spoilt = right with { RawScores = [.. right.Scores!.Select(row => row.Reverse().ToArray())] };
                break;
            case "a fault":
                spoilt = right with { Faults = ["byte 5"] };
                break;
            case "NaN":
                right.Output[query * dim + 2] = float.NaN;
                break;
        }
        IReadOnlyList<string> failures = inputs.Check(spoilt);
        if (said.Length == 0)
            Assert.Empty(failures);
        else
        {
            Assert.Contains(failures, failure => failure.Contains(said, StringComparison.Ordinal));
            Assert.All(failures, failure => Assert.EndsWith($"replay: {s_config}", failure));
        }
    }

    [Fact]
    public void Thousands_of_configurations_need_few_compilations()
    {
        PipelineConfig[] configs = [.. Enumerable.Range(0, 3000).Select(ReadyConfigs.Random)];
        var texts = configs.Select(c => (Plan: ReadyConfigs.PlanOf(c), c.HeadDim, c.Element, c.FloatOutput, c.Tile)).Distinct().ToArray();
        int kernels = texts.Sum(text => text.Plan.Kernels.Count);
        Assert.InRange(kernels, 1, 420);
        Assert.All(configs, config => Assert.Equal(config, PipelineConfig.Parse(config.ToString())));
        Assert.Contains(configs, config => config.KeyLength > 2000);
        Assert.All(
            AttentionTile.HeadDims.SelectMany(dim => AttentionTile.OthersFor(dim).Select(tile => (dim, tile))),
            shape => Assert.Contains(configs, config => !config.Sparse && (config.HeadDim, config.Tile) == shape));
        Assert.All(AttentionTile.OthersFor(128), tile => Assert.Contains(configs, config => config.GatherHeads > 0 && config.Sparse && config.Tile == tile));
        Assert.Contains(configs, config => config.Sparse && config.GatherHeads == 0);
        Assert.Contains(configs, config => config.Sparse && config.GatherHeads == 1 && config.QueryHeads > 1);
        Assert.All(Enum.GetValues<TensorLayout>(), layout => Assert.Contains(configs, config => config.Layout == layout));
        Assert.All(Enum.GetValues<TensorContent>(), content => Assert.Contains(configs, config => config.Content == content));
        Assert.All(Enum.GetValues<RuleKind>(), rule => Assert.Contains(configs, config => config.Rule == rule && config.Sparse));
        Assert.All(Enumerable.Range(1, 8),
            group => Assert.Contains(configs, config => config.QueryHeads == group * config.KeyValueHeads));
    }

    [Fact]
    public void Every_ready_pipeline_is_among_them()
    {
        using var device = AttentionDevice.Cpu(1);
        var names = new HashSet<string>();
        IEnumerable<PipelineConfig> configs = Enumerable.Range(0, ReadyConfigs.Texts).Select(number => ReadyConfigs.Small(number, number))
            .Concat(Enumerable.Range(0, 600).Select(ReadyConfigs.Random));
        foreach (PipelineConfig config in configs)
        {
            using IAttentionPipeline pipeline = ReadyConfigs.Create(config, device);
            names.Add(pipeline.PipelinePlan.Name);
        }
        string[] ruled = ["masked-attention", "ruled-attention", "ruled-token-sparse", "token-ruled"];
        Assert.Equal(ReadyPipelines.All.Select(pipeline => pipeline.Name).Concat(ruled).Order(), names.Order());
    }
}
