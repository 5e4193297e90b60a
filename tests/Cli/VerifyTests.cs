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

    [Theory]
    [InlineData("--count", "0", "--count")]
    [InlineData("--replay", "seed=1 b=2", "element")]
    [InlineData("--replay", "nonsense", "'nonsense'")]
    [InlineData("--device", "tpu", "'tpu'")]
    public void What_cannot_be_verified_is_wrong_usage(string option, string value, string said) =>
        Assert.Contains(said, CliResult.Run("verify", option, value).FailedWith(CommandLine.WrongUsage));
}
