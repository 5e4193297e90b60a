using AttnCompose.Conformance;

namespace AttnCompose.Cli.Tests;

public sealed class VerifyTests
{
    [Fact]
    public void The_ready_pipelines_agree_with_the_definition()
    {
        CliResult result = CliResult.Run("verify", "--device", "cpu", "--count", "40", "--seed", "7");
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("40 of 40 configurations", result.Output);
        Assert.Contains(" 0 failed", result.Output);
        Assert.Contains("of what is allowed, in: seed=", result.Output);
        Assert.Contains("40 repeated runs", result.Output);
    }

    [Fact]
    public void A_line_is_replayed()
    {
        string line = ReadyConfigs.Random(5).ToString();
        CliResult result = CliResult.Run("verify", "--replay", line);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("1 of 1 configurations", result.Output);
        Assert.Contains(line, result.Output);
    }

    [Fact]
    public void Configurations_are_chosen_by_their_values()
    {
        CliResult result = CliResult.Run("verify", "--count", "3", "--where", "d=64 sparse=False floatout=True", "--fail-fast");
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("3 of 3 configurations", result.Output);
        Assert.Contains(" d=64 ", result.Output);
    }

    [Fact]
    public void Pairs_are_a_suite_of_their_own()
    {
        CliResult result = CliResult.Run("verify", "--suite", "pairs", "--small", "--where", "pipeline=pair05");
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("4 of 4 configurations, 0 failed", result.Output);
        Assert.Contains("no configuration of pairs has 'pipeline=pair00'",
            CliResult.Run("verify", "--suite", "pairs", "--where", "pipeline=pair00").FailedWith(CommandLine.WrongUsage));
        Assert.Contains("--replay runs one configuration",
            CliResult.Run("verify", "--suite", "pairs", "--replay", ReadyConfigs.Random(5).ToString()).FailedWith(CommandLine.WrongUsage));
    }

    [Fact]
    public void Small_configurations_have_every_kernel_text()
    {
        PipelineConfig[] configs = [.. Enumerable.Range(0, ReadyConfigs.Texts).Select(i => ReadyConfigs.Small(i, 100 + i))];
        Assert.Equal(configs.Length, configs.Select(TextOf).Distinct().Count());
        Assert.All(configs.Where(config => config.Sparse), config => Assert.True(config.KeyLength > config.Window));
        Assert.InRange(configs.Sum(config => ReadyConfigs.PlanOf(config).Kernels.Count), 1, 400);
        Assert.Subset(
            configs.Select(TextOf).ToHashSet(),
            Enumerable.Range(0, 800).Select(ReadyConfigs.Random).Select(TextOf).ToHashSet());

        static (PipelinePlan, int, ElementType, bool) TextOf(PipelineConfig config) =>
            (ReadyConfigs.PlanOf(config), config.HeadDim, config.Element, config.FloatOutput);
    }

    [Theory]
    [InlineData("--count", "0", "--count")]
    [InlineData("--replay", "seed=1 b=2", "element")]
    [InlineData("--replay", "nonsense", "'nonsense'")]
    [InlineData("--device", "tpu", "'tpu'")]
    [InlineData("--where", "dim=64", "'dim=64'")]
    [InlineData("--where", "d=7", "hardly any configuration")]
    [InlineData("--suite", "slow", "There is no suite 'slow'. There are: random, pairs, reference,")]
    [InlineData("--suite", "far", "needs a CUDA device")]
    [InlineData("--suite", "all", "needs a CUDA device")]
    public void What_cannot_be_verified_is_wrong_usage(string option, string value, string said) =>
        Assert.Contains(said, CliResult.Run("verify", option, value).FailedWith(CommandLine.WrongUsage));
}
