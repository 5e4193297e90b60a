using System.Text.Json;

namespace AttnCompose.Models.Tests;

public sealed class EvaluationTests(SampleModel sample) : IClassFixture<SampleModel>
{
    [Fact]
    public void ResultsAreCountedByKindBesideDense()
    {
        // Cut short, so that it is fast: only facts near the end can still be recalled, which makes right and wrong answers.
        EvaluationPrompt[] prompts = [.. EvaluationPrompt.Read(SampleModel.Prompts(2048), 4).Select(prompt => prompt with
        {
            Prompt = "<bos> " + string.Join(' ', prompt.Prompt.Split(' ')[^700..]),
        })];
        using var dense = new NaiveAttention(sample.Device);
        // Of the first 400 tokens only one in four is kept, of the rest all.
        using var sparse = new NaiveAttention(sample.Device, position => position >= 400 || position % 4 == 0);
        var seen = new List<EvaluationProgress>();
        var evaluation = new Evaluation(sample.Model, sample.Tokenizer, dense);
        EvaluationResult result = evaluation.Run(prompts, sparse, [2, 5], seen.Add);

        Assert.Equal(["home", "code"], result.Rows.Select(row => row.Kind));
        Assert.Equal([2, 5], result.SparseLayers);
        Assert.Equal([1, 2, 3, 4], seen.Select(progress => progress.Done));
        Assert.All(seen, progress => Assert.Equal(4, progress.Total));
        Assert.Equal(TimeSpan.Zero, seen[^1].TimeLeft);
        foreach (EvaluationRow row in result.Rows)
        {
            EvaluationProgress[] mine = [.. seen.Where(progress => progress.Prompt.Kind == row.Kind)];
            Assert.Equal(("naive-sparse", 2), (row.Pipeline, row.Prompts));
            Assert.Equal(mine.Count(progress => progress.Right) / 2.0, row.Accuracy);
            Assert.Equal(mine.Count(progress => progress.DenseRight) / 2.0, row.DenseAccuracy);
            Assert.Equal((100 + 301) / 701.0, row.Kept, 1e-12);
            Assert.InRange(row.Pairs, 0.75 + 0.25 * Math.Pow(401 / 701.0, 2), 0.75 + 0.25 * Math.Pow(402 / 701.0, 2) + 1e-3);
            Assert.True(row.Seconds > row.AttentionSeconds && row.AttentionSeconds > 0);
            Assert.True(row.DenseSeconds > row.DenseAttentionSeconds && row.DenseAttentionSeconds > 0);
        }
        Assert.Equal((4, "all"), (result.Total.Prompts, result.Total.Kind));
        AssertJson(result);
    }

    [Fact]
    public void UnderTheDensePipelineBothAnswersAreTheSame()
    {
        using var dense = new NaiveAttention(sample.Device);
        EvaluationPrompt[] prompts = 
        [
            new("a", "k", 3, "<bos> today home rosa warsaw . tell : home rosa", "warsaw"), new("b", "k", 1, "<bos>", "zulu"),
        ];
        EvaluationRow row = Assert.Single(new Evaluation(sample.Model, sample.Tokenizer, dense).Run(prompts, dense, []).Rows);
        Assert.Equal((row.DenseRight, 1.0, 1.0), (row.Right, row.Kept, row.Pairs));
        Assert.InRange(row.Right, 0, 1); // the second answer is not one that a bare <bos> leads to
    }

    [Fact]
    public void ItCanBeCancelledAndRefusesLayersThatAreNotThere()
    {
        using var dense = new NaiveAttention(sample.Device);
        var evaluation = new Evaluation(sample.Model, sample.Tokenizer, dense);
        EvaluationPrompt[] prompts = [new("a", "k", 1, "<bos> the", "the"), new("b", "k", 1, "<bos> the", "the")];
        Assert.Throws<ArgumentOutOfRangeException>(() => evaluation.Run(prompts, dense, [8]));
        Assert.Throws<ArgumentOutOfRangeException>(() => evaluation.Run(prompts, dense, [-1]));
        Assert.Throws<ModelFormatException>(() => evaluation.Run([prompts[0] with { Answer = "  " }], dense, []));
        Assert.Empty(evaluation.Run([], dense, []).Rows);
        using var source = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => evaluation.Run(prompts, dense, [], _ => source.Cancel(), source.Token));
    }

    [Theory]
    [InlineData("", "holds no prompts")]
    [InlineData("{\"id\":\"a\"}", ":1: 'kind' is missing")]
    [InlineData("\n[]", ":2: is not a JSON object")]
    [InlineData("{\"id\":\"a\",\"kind\":\"b\",\"prompt\":\"c\",\"answer\":3}", ":1: 'answer' is 3; a string is needed")]
    [InlineData("{\"id\":", ":1: is not valid JSON")]
    public void MalformedPromptFilesNameTheLine(string text, string says)
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory["p"], text);
        Assert.Contains(says, Assert.Throws<ModelFormatException>(() => EvaluationPrompt.Read(directory["p"])).Message);
        Assert.Contains("no such file", Assert.Throws<ModelFormatException>(() => EvaluationPrompt.Read(directory["q"])).Message);
    }

    [Fact]
    public void DriftIsTheMeanRelativeChangeOfARow() =>
        Assert.Equal((5 / 10.0 + 0 / 1.0) / 2, DriftProfile.MeanDrift([6, 8, 0, 1], [9, 12, 0, 1], 2), 1e-6);

    private static void AssertJson(EvaluationResult result)
    {
        using var directory = new TemporaryDirectory();
        result.WriteJson(directory["result.json"]);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(directory["result.json"]));
        JsonElement rows = json.RootElement.GetProperty("rows");
        Assert.Equal(result.Rows.Count, rows.GetArrayLength());
        for (int i = 0; i < result.Rows.Count; i++)
        {
            Assert.Equal(result.Rows[i].Pipeline, rows[i].GetProperty("pipeline").GetString());
            Assert.Equal(result.Rows[i].Kind, rows[i].GetProperty("kind").GetString());
            Assert.Equal(result.Rows[i].Prompts, rows[i].GetProperty("prompts").GetInt32());
            (string Name, double Value)[] numbers =
            [
                ("accuracy", result.Rows[i].Accuracy), ("dense_accuracy", result.Rows[i].DenseAccuracy),
                ("kept", result.Rows[i].Kept), ("pairs", result.Rows[i].Pairs),
                ("seconds", result.Rows[i].Seconds), ("dense_seconds", result.Rows[i].DenseSeconds),
                ("attention_seconds", result.Rows[i].AttentionSeconds),
                ("dense_attention_seconds", result.Rows[i].DenseAttentionSeconds),
            ];
            Assert.All(numbers, number => Assert.Equal(number.Value, rows[i].GetProperty(number.Name).GetDouble()));
        }
        Assert.Throws<IOException>(() => result.WriteJson(Path.Combine(directory["nowhere"], "result.json")));
    }
}
