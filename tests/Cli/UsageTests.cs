using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Tests;

public sealed class UsageTests : IDisposable
{
    private static readonly PipelineDescriptor[] Pipelines = [FakePipeline.Describe("fake"), FakePipeline.Describe("other")];

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void No_command_is_wrong_usage() =>
        Assert.Contains("--help", CliResult.Run(Pipelines).FailedWith(CommandLine.WrongUsage));

    [Theory]
    [InlineData("fly")]
    [InlineData("plan")]
    [InlineData("plan", "fake", "--colour")]
    [InlineData("run", "--pipeline", "fake")]
    [InlineData("eval", "--pipeline", "fake", "--limit", "many")]
    public void What_does_not_parse_is_wrong_usage(params string[] arguments) =>
        Assert.Contains("--help", CliResult.Run(Pipelines, arguments).FailedWith(CommandLine.WrongUsage));

    [Fact]
    public void Help_is_success()
    {
        Assert.Contains("doctor", CliResult.Run(Pipelines, "--help").Succeeded().Output);
        Assert.Contains("--emit", CliResult.Run(Pipelines, "run", "--help").Succeeded().Output);
    }

    [Fact]
    public void An_unknown_pipeline_names_those_that_exist()
    {
        Assert.Contains("There are: fake, other.", CliResult.Run(Pipelines, "plan", "nosuch").FailedWith(CommandLine.WrongUsage));
        Assert.Contains("'nosuch'", Run("--pipeline", "nosuch").FailedWith(CommandLine.WrongUsage));
        Assert.Contains("'nosuch'",
            CliResult.Run(Pipelines, "eval", "--model", "m", "--prompts", "p", "--pipeline", "nosuch").FailedWith(CommandLine.WrongUsage));
    }

    [Theory]
    [InlineData("Weakness=1", "Strength")]
    [InlineData("Strength=2", "in [0, 1]")]
    [InlineData("Strength=much", "'much'")]
    [InlineData("Strength=NaN", "'NaN'")]
    [InlineData("Tile=32", "constant")]
    [InlineData("Strength", "Name=Value")]
    [InlineData("=1", "Name=Value")]
    public void A_parameter_that_cannot_be_set_is_wrong_usage(string setting, string said) =>
        Assert.Contains(said, Run("--pipeline", "fake", "--set", setting).FailedWith(CommandLine.WrongUsage));

    [Fact]
    public void A_parameter_set_twice_is_wrong_usage() =>
        Assert.Contains("twice",
            Run("--pipeline", "fake", "--set", "Strength=0.1", "--set", "Strength=0.2").FailedWith(CommandLine.WrongUsage));

    [Theory]
    [InlineData("gpu")]
    [InlineData("cuda:")]
    [InlineData("cuda:-1")]
    [InlineData("cuda:x")]
    [InlineData("CPU")]
    public void A_device_that_does_not_parse_is_wrong_usage(string device) =>
        Assert.Contains($"'{device}'", Run("--pipeline", "fake", "--device", device).FailedWith(CommandLine.WrongUsage));

    [Theory]
    [InlineData("--head-dim", "64,100", "'100'")]
    [InlineData("--head-dim", "", "''")]
    [InlineData("--head-dim", "264", "'264'")]
    [InlineData("--element", "bf16,fp8", "'fp8'")]
    [InlineData("--pipeline", "nosuch", "'nosuch'")]
    [InlineData("--device", "cpu", "cuda:N")]
    public void What_cannot_be_warmed_up_is_wrong_usage(string option, string value, string said) =>
        Assert.Contains(said, CliResult.Run(Pipelines, "warmup", option, value).FailedWith(CommandLine.WrongUsage));

    [Theory]
    [InlineData("weights", "indices, scores, lse")]
    [InlineData("lse,", "''")]
    [InlineData("indices", "no token selector")]
    [InlineData("lse,scores", "no token selector")]
    public void What_cannot_be_emitted_is_wrong_usage(string emit, string said) =>
        Assert.Contains(said, Run("--pipeline", "fake", "--emit", emit).FailedWith(CommandLine.WrongUsage));

    [Fact]
    public void Plan_prints_the_plan_and_the_emitted_cuda()
    {
        Assert.Equal(Pipelines[0].Plan + "\n", CliResult.Run(Pipelines, "plan", "fake").Succeeded().Output);
        Assert.Equal(Pipelines[0].CudaSource, CliResult.Run(Pipelines, "plan", "fake", "--cuda").Succeeded().Output);
    }

    [Fact]
    public void Plan_of_a_ready_pipeline_says_why_each_kernel_is_separate_and_shows_each_kernel()
    {
        Assert.NotEmpty(ReadyPipelines.All);
        foreach (PipelineDescriptor pipeline in ReadyPipelines.All)
        {
            string plan = CliResult.Run("plan", pipeline.Name).Succeeded().Output;
            string cuda = CliResult.Run("plan", pipeline.Name, "--cuda").Succeeded().Output;
            Assert.All(pipeline.Plan.Stages, stage => Assert.Contains(stage.Name, plan));
            Assert.All(pipeline.Plan.Kernels, kernel => Assert.Contains(kernel.SplitReason, plan));
            Assert.All(pipeline.Plan.Kernels.Skip(1), kernel => Assert.NotEmpty(kernel.SplitReason));
            Assert.All(pipeline.Plan.Buffers, buffer => Assert.Contains(buffer.Name, plan));
            Assert.All(pipeline.Plan.Kernels, kernel => Assert.Contains($"{kernel.Name}(", cuda));
        }
    }

    private CliResult Run(params string[] arguments)
    {
        string input = Inputs.WriteFloat(_folder);
        CliResult result = CliResult.Run(
            Pipelines, ["run", "--input", input, "--output", _folder.PathOf("out.safetensors"), .. arguments]);
        Assert.Equal(["in.safetensors"], _folder.Files);
        return result;
    }
}
