using System.Text.Json;
using AttnCompose.Testing;

namespace AttnCompose.Cli.Tests;

/// <summary><c>eval</c> on the recall model that the sample brings along.</summary>
public sealed class EvalTests : IDisposable
{
    private static readonly string Model = Repository.PathOf("samples/LongContext/model");
    private static readonly string Prompts = Repository.PathOf("samples/LongContext/prompts/recall_2048.jsonl");

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Results_are_printed_and_written_by_kind()
    {
        string json = _folder.PathOf("out.json");
        CliResult result = CliResult.Run(
            "eval", "--model", Model, "--prompts", Prompts, "--pipeline", "token-sparse-prefill", "--layers", "2,3,5,6",
            "--set", "Coverage=0.3", "--set", "MinTokens=256", "--limit", "2", "--json", json);
        Assert.True(result.Code == 0, result.Error);
        Assert.Contains("layers 2, 3, 5, 6 of 8;", result.Output);
        Assert.Contains("2 of 2 prompts", result.Error);
        Assert.Equal(["out.json"], _folder.Files);

        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. document.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(["home", "code"], rows.Select(row => row.GetProperty("kind").GetString()));
        foreach (JsonElement row in rows)
        {
            Assert.Equal("token-sparse-prefill", row.GetProperty("pipeline").GetString());
            Assert.Equal(1, row.GetProperty("prompts").GetInt32());
            Assert.InRange(row.GetProperty("accuracy").GetDouble(), 0, 1);
            Assert.InRange(row.GetProperty("dense_accuracy").GetDouble(), 0, 1);
            Assert.InRange(row.GetProperty("kept").GetDouble(), 0.1, 0.7);
            Assert.True(row.GetProperty("seconds").GetDouble() > 0);
            Assert.True(row.GetProperty("dense_seconds").GetDouble() > 0);
            Assert.Contains(row.GetProperty("kind").GetString()!, result.Output);
        }
    }

    [Fact]
    public void Several_pipelines_are_tables_with_the_dense_answers_first()
    {
        string markdown = _folder.PathOf("out.md");
        CliResult result = CliResult.Run(
            "eval", "--model", Model, "--prompts", Prompts, "--pipeline", "token-sparse-fixed", "streaming",
            "--layers", "2,3", "--set", "Count=512", "--set", "Sink=128", "--limit", "2", "--markdown", markdown);
        Assert.True(result.Code == 0, result.Error);
        string[][] rows = [.. File.ReadAllLines(markdown).Where(line => line.StartsWith('|'))
            .Select(line => line.Trim('|').Split('|', StringSplitOptions.TrimEntries))];
        Assert.Equal(["pipeline", "---", "dense attention", "`token-sparse-fixed`", "`streaming`"], rows.Select(row => row[0]));
        Assert.Equal(["home", "code"], rows[0][2..4]);
        Assert.Equal(["", "Count=512", "Sink=128"], rows[2..].Select(row => row[1]));
        // A quarter of the tokens, a sixteenth of the pairs of the sparse layers.
        Assert.Equal(["25 %", "6 %"], rows[3][4..6]);
        Assert.Equal(["100 %", "100 %"], rows[4][4..6]); // a window of 4096
    }

    [Fact]
    public void Without_layers_the_model_chooses_half_of_them()
    {
        CliResult result = CliResult.Run(
            "eval", "--model", Model, "--prompts", Prompts, "--pipeline", "dense-attention", "--limit", "1");
        Assert.True(result.Code == 0, result.Error);
        Assert.Contains("chosen by their drift", result.Output);
    }

    [Theory]
    [InlineData("--layers", "2,8", "layer 8")]
    [InlineData("--layers", "2;3", "'2;3'")]
    [InlineData("--limit", "0", "at least 1")]
    [InlineData("--set", "Coverage=1.5", "in [0, 1]")]
    public void A_value_that_cannot_be_is_wrong_usage(string option, string value, string said) =>
        Assert.Contains(said,
            CliResult.Run("eval", "--model", Model, "--prompts", Prompts, "--pipeline", "token-sparse-prefill", option, value)
                .FailedWith(CommandLine.WrongUsage));

    [Theory]
    [InlineData("--all", "--pipeline", "streaming")]
    [InlineData("--pipeline", "streaming", "--pipeline", "flexprefill", "--set", "Coverage=0.1")]
    [InlineData("--pipeline", "streaming", "--pipeline", "flexprefill", "--json", "out.json")]
    [InlineData]
    public void Pipelines_that_do_not_fit_together_are_wrong_usage(params string[] arguments) =>
        CliResult.Run([.. (string[])["eval", "--model", Model, "--prompts", Prompts], .. arguments]).FailedWith(CommandLine.WrongUsage);

    [Fact]
    public void A_missing_model_or_prompt_file_is_one_line()
    {
        string nowhere = _folder.PathOf("nowhere");
        Assert.Contains("nowhere",
            CliResult.Run("eval", "--model", nowhere, "--prompts", Prompts, "--pipeline", "dense-attention").FailedWith(CommandLine.Failure));
        Assert.Contains("nowhere",
            CliResult.Run("eval", "--model", Model, "--prompts", nowhere, "--pipeline", "dense-attention").FailedWith(CommandLine.Failure));
    }
}
