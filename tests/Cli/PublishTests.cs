namespace AttnCompose.Cli.Tests;

/// <summary>The program, trimmed and self-contained: nothing that runs is found by reflection alone.</summary>
public sealed class PublishTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [TrimmedPublishFact]
    public void A_trimmed_publish_plans_and_runs()
    {
        string program = TrimmedPublish.Program();
        (int code, string output) = TrimmedPublish.Run(program, "plan", "token-sparse-prefill", "--cuda");
        Assert.True(code == 0, output);
        Assert.Contains("__global__", output);

        string input = Inputs.WriteFloat(_folder);
        string result = _folder.PathOf("out.safetensors");
        (code, output) = TrimmedPublish.Run(
            program, "run", "--pipeline", "token-sparse-prefill", "--input", input, "--output", result, "--emit", "indices");
        Assert.True(code == 0, output);
        string expected = _folder.PathOf("expected.safetensors");
        CliResult.Run("run", "--pipeline", "token-sparse-prefill", "--input", input, "--output", expected, "--emit", "indices").Succeeded();
        Assert.Equal(File.ReadAllBytes(expected), File.ReadAllBytes(result));

        (code, output) = TrimmedPublish.Run(program, "doctor");
        Assert.True(code == 0, output);
        (code, output) = TrimmedPublish.Run(program, "plan", "nosuch");
        Assert.True(code == CommandLine.WrongUsage, output);
    }
}
