using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Tests;

/// <summary>What a command line did, run in process.</summary>
internal sealed record CliResult(int Code, string Output, string Error)
{
    /// <summary>Runs a command line over the ready pipelines.</summary>
    public static CliResult Run(params string[] arguments) => Run(ReadyPipelines.All, arguments);

    /// <summary>Runs a command line over other pipelines.</summary>
    public static CliResult Run(IReadOnlyList<PipelineDescriptor> pipelines, params string[] arguments)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        int code = new CommandLine(pipelines, output, error).Run(arguments);
        return new CliResult(code, output.ToString(), error.ToString());
    }

    public CliResult Succeeded()
    {
        Assert.True(Code == 0, $"exit code {Code}\n{Error}");
        Assert.Empty(Error);
        return this;
    }

    /// <summary>Demands the exit code, one line of error and nothing else.</summary>
    public string FailedWith(int code)
    {
        Assert.True(Code == code, $"exit code {Code}, expected {code}\n{Output}{Error}");
        Assert.Empty(Output);
        Assert.EndsWith("\n", Error);
        string line = Error[..^1];
        Assert.DoesNotContain('\n', line);
        Assert.DoesNotContain("Exception", line);
        Assert.StartsWith("attncompose", line);
        return line;
    }
}
