using AttnCompose.Models;

namespace AttnCompose.Cli.Tests;

/// <summary>A call that cannot work: one line, exit code 1, nothing left on disk and nothing of the old output lost.</summary>
public sealed class RunFailureTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(100)]
    [InlineData(-1)]
    [InlineData(-400)]
    public void A_truncated_file_is_one_line(int length)
    {
        string input = Inputs.WriteFloat(_folder);
        byte[] bytes = File.ReadAllBytes(input);
        File.WriteAllBytes(input, bytes[..(length >= 0 ? length : bytes.Length + length)]);
        Assert.Contains(input, Fails("dense-attention", input));
    }

    [Fact]
    public void A_file_that_is_no_safetensors_file_is_one_line()
    {
        string input = _folder.PathOf("in.safetensors");
        File.WriteAllText(input, "Not a tensor in sight, only words that go on for a while.");
        Assert.Contains(input, Fails("dense-attention", input));
    }

    [Fact]
    public void A_missing_file_is_one_line() =>
        Assert.Contains("nowhere.safetensors", Fails("dense-attention", _folder.PathOf("nowhere.safetensors")));

    [Fact]
    public void A_missing_tensor_is_named()
    {
        var writer = new SafeTensorsWriter();
        writer.Add<float>("q", [1, 1, 1, 8], new float[8]);
        string input = _folder.PathOf("in.safetensors");
        writer.Save(input);
        Assert.Contains("no tensor 'k'", Fails("dense-attention", input));
    }

    public static TheoryData<long[], long[], long[], string> WrongShapes => new()
    {
        { [2, 5, 16], [1, 1, 5, 16], [1, 1, 5, 16], "[batch, heads, length, dim]" },
        { [1, 3, 5, 16], [1, 2, 5, 16], [1, 2, 5, 16], "3 query heads" },
        { [1, 2, 5, 16], [1, 1, 5, 24], [1, 1, 5, 24], "head dim must agree" },
        { [1, 2, 5, 16], [1, 1, 5, 16], [1, 1, 4, 16], "they must be alike" },
        { [2, 2, 5, 16], [1, 1, 5, 16], [1, 1, 5, 16], "batch" },
        { [1, 2, 5, 12], [1, 1, 5, 12], [1, 1, 5, 12], "multiple of 8" },
        { [1, 2, 6, 16], [1, 1, 5, 16], [1, 1, 5, 16], "causal" },
    };

    [Theory]
    [MemberData(nameof(WrongShapes))]
    public void A_wrong_shape_says_what_it_got(long[] q, long[] k, long[] v, string said)
    {
        string input = Inputs.Write(_folder, q, k, v, value => value);
        Assert.Contains(said, Fails("dense-attention", input));
        Assert.Contains(said, Fails("token-sparse-prefill", input));
    }

    [Fact]
    public void A_pipeline_that_depends_on_depth_asks_for_the_layer() =>
        Assert.Contains("Layer", Fails("token-sparse-pyramid", Inputs.WriteFloat(_folder)));

    [Fact]
    public void Element_types_that_do_not_fit_are_named()
    {
        var writer = new SafeTensorsWriter();
        writer.Add<float>("q", [1, 1, 2, 8], new float[16]);
        writer.Add<Half>("k", [1, 1, 2, 8], new Half[16]);
        writer.Add<float>("v", [1, 1, 2, 8], new float[16]);
        string input = _folder.PathOf("in.safetensors");
        writer.Save(input);
        Assert.Contains("k F16", Fails("dense-attention", input));
        Assert.Contains("BF16, F16 or F32",
            Fails("dense-attention", Inputs.Write(_folder, [1, 1, 2, 8], [1, 1, 2, 8], [1, 1, 2, 8], value => (int)value)));
    }

    [Fact]
    public void A_gpu_that_is_not_there_is_one_line() =>
        Fails("dense-attention", Inputs.WriteFloat(_folder), "--device", "cuda:99");

    [Fact]
    public void A_folder_that_does_not_exist_is_one_line()
    {
        string input = Inputs.WriteFloat(_folder);
        CliResult result = CliResult.Run(
            "run", "--pipeline", "dense-attention", "--input", input, "--output", _folder.PathOf("no/out.safetensors"));
        Assert.Contains("folder", result.FailedWith(CommandLine.Failure));
    }

    [Fact]
    public void The_input_is_never_written_over()
    {
        string input = Inputs.WriteFloat(_folder);
        byte[] before = File.ReadAllBytes(input);
        string sameFile = Path.Combine(Path.GetDirectoryName(input)!, ".", Path.GetFileName(input));
        CliResult result = CliResult.Run("run", "--pipeline", "dense-attention", "--input", input, "--output", sameFile);
        Assert.Contains("is the input", result.FailedWith(CommandLine.WrongUsage));
        Assert.Equal(before, File.ReadAllBytes(input));
    }

    [Fact]
    public void A_failure_inside_a_pipeline_leaves_no_output()
    {
        var pipeline = FakePipeline.Describe("fake", new InvalidOperationException("The first line.\nThe second line."));
        string input = Inputs.WriteFloat(_folder);
        string[] arguments = ["run", "--pipeline", "fake", "--input", input, "--output", _folder.PathOf("out.safetensors")];
        Assert.Equal("attncompose run: The first line.", CliResult.Run([pipeline], arguments).FailedWith(CommandLine.Failure));
        Assert.Equal(["in.safetensors"], _folder.Files);

        CliResult verbose = CliResult.Run([pipeline], [.. arguments, "--verbose"]);
        Assert.Equal(CommandLine.Failure, verbose.Code);
        Assert.Contains("InvalidOperationException", verbose.Error);
    }

    private string Fails(string pipeline, string input, params string[] more)
    {
        string output = _folder.PathOf("old.safetensors");
        File.WriteAllText(output, "old");
        string[] before = [.. _folder.Files];
        string line = CliResult.Run(["run", "--pipeline", pipeline, "--input", input, "--output", output, .. more])
            .FailedWith(CommandLine.Failure);
        Assert.Equal(before, _folder.Files);
        Assert.Equal("old", File.ReadAllText(output));
        return line;
    }
}
