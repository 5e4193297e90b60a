using AttnCompose.Pipelines;
using Xunit.Abstractions;

namespace AttnCompose.Models.Tests;

/// <summary>The recall model of the sample against its own answers, and against what PyTorch computed in it.</summary>
public sealed class SampleModelTests(SampleModel sample, ITestOutputHelper output) : IClassFixture<SampleModel>
{
    [Fact]
    public void QueryKeyAndValueOfLayerFourAreThoseOfPyTorch()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "Data", "recall_layer4_rows.safetensors");
        using SafeTensorsFile golden = SafeTensorsFile.Open(path);
        int[] tokens = golden.Span<int>("tokens").ToArray(), rows = golden.Span<int>("rows").ToArray();
        using var session = new LlamaSession(sample.Model, tokens.Length);
        using var dense = DenseAttention.Create(sample.Device);
        var errors = new List<double>();
        using var layer4 = new NaiveAttention(sample.Device)
        {
            Inspect = (_, query, key, value) => errors.AddRange(
                [.. Errors(golden, "q", rows, query), .. Errors(golden, "k", rows, key), .. Errors(golden, "v", rows, value)]),
        };
        session.Prefill(tokens, layer => layer == 4 ? layer4 : dense);
        Assert.Equal(8 * rows.Length, errors.Count);
        output.WriteLine($"relative error a row: mean {errors.Average():F4}, largest {errors.Max():F4}");
        // The reference ran in bfloat16 (2^-9 a rounding, four layers deep); a wrong convention anywhere gives about 1.
        Assert.InRange(errors.Average(), 0, 0.02);
        Assert.InRange(errors.Max(), 0, 0.15);
    }

    [Fact]
    public void HomePromptsAreAnsweredRightDenseAndTokenSparse()
    {
        using var dense = DenseAttention.Create(sample.Device);
        using var sparse = TokenSparsePrefill.Create(sample.Device, new() { Coverage = 0.3, MinTokens = 256 });
        IReadOnlyList<EvaluationPrompt> prompts =
            [.. EvaluationPrompt.Read(SampleModel.Prompts(2048), 8).Where(prompt => prompt.Kind == "home")];
        EvaluationResult result = new Evaluation(sample.Model, sample.Tokenizer, dense).Run(prompts, sparse, [2, 3, 5, 6]);
        Assert.Equal((4, 4), (result.Total.DenseRight, result.Total.Right));
        // PyTorch keeps 59 % at this coverage.
        Assert.InRange(result.Total.Kept, 0.5, 0.7);
        Assert.InRange(result.Total.Pairs, 0.5 + 0.5 * 0.25, 0.5 + 0.5 * 0.5);
    }

    [Fact]
    public void TheReadyDensePipelineGivesTheLogitsOfPlainLoops()
    {
        int[] tokens = sample.Tokenizer.Encode(EvaluationPrompt.Read(SampleModel.Prompts(2048), 1)[0].Prompt)[..300];
        using var dense = DenseAttention.Create(sample.Device);
        using var naive = new NaiveAttention(sample.Device);
        using var session = new LlamaSession(sample.Model, tokens.Length);
        session.Prefill(tokens, _ => naive);
        float[] expected = [.. session.Logits];
        session.Reset();
        session.Prefill(tokens.AsSpan(0, 130), _ => dense);
        session.Prefill(tokens.AsSpan(130, 169), _ => dense);
        session.Decode(tokens[^1], dense);
        for (int i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], session.Logits[i], 1e-3f);
    }

    [Fact]
    public void ChunksOfARealPromptGiveTheSameBits()
    {
        int[] tokens = sample.Tokenizer.Encode(EvaluationPrompt.Read(SampleModel.Prompts(2048), 1)[0].Prompt)[..400];
        using var dense = new NaiveAttention(sample.Device);
        using var session = new LlamaSession(sample.Model, tokens.Length);
        session.Prefill(tokens, _ => dense);
        float[] whole = [.. session.Logits];
        session.Reset();
        session.Prefill(tokens.AsSpan(0, 257), _ => dense);
        session.Prefill(tokens.AsSpan(257), _ => dense);
        Assert.Equal(whole, session.Logits.ToArray());
    }

    [Fact]
    public void TheDriftProfilePicksTheLayersThatTheModelWasMeasuredWith()
    {
        int[] tokens = sample.Tokenizer.Encode(EvaluationPrompt.Read(SampleModel.Prompts(2048), 1)[0].Prompt);
        using var dense = DenseAttention.Create(sample.Device);
        DriftProfile profile = DriftProfile.Measure(sample.Model, tokens, dense);
        output.WriteLine(string.Join(", ", profile.Drift.Select(drift => drift.ToString("F3", null))));
        output.WriteLine(string.Join(", ", profile.SparseLayers()));
        Assert.Equal([2, 3, 5, 6], profile.SparseLayers());
        Assert.Equal([3], profile.SparseLayers(0.125));
        Assert.Empty(profile.SparseLayers(0));
        Assert.Equal(8, profile.SparseLayers(1).Count);
        Assert.Throws<ArgumentOutOfRangeException>(() => profile.SparseLayers(1.1));
    }

    private static IEnumerable<double> Errors(
        SafeTensorsFile golden, string name, int[] rows, System.Numerics.Tensors.ReadOnlyTensorSpan<float> actual)
    {
        int heads = (int)actual.Lengths[1], dim = (int)actual.Lengths[3];
        var expected = new float[heads * rows.Length * dim];
        golden.CopyAsFloat(name, 0, expected);
        var result = new List<double>();
        for (int head = 0; head < heads; head++)
        {
            for (int r = 0; r < rows.Length; r++)
            {
                double error = 0, norm = 0;
                for (int i = 0; i < dim; i++)
                {
                    double right = expected[(head * rows.Length + r) * dim + i], difference = actual[0, head, rows[r], i] - right;
                    (error, norm) = (error + difference * difference, norm + right * right);
                }
                result.Add(Math.Sqrt(error / norm));
            }
        }
        return result;
    }
}
