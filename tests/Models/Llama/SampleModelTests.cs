using Xunit.Abstractions;

namespace AttnCompose.Models.Tests;

/// <summary>The recall model of the sample against its own answers, and against what PyTorch computed in it.</summary>
public sealed class SampleModelTests(SampleModel sample, ITestOutputHelper output) : IClassFixture<SampleModel>
{
    [Fact]
    public void QueryKeyAndValueOfLayerFourAreThoseOfPyTorch()
    {
        using SafeTensorsFile golden = SafeTensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "Data", "recall_layer4_rows.safetensors"));
        int[] tokens = golden.Span<int>("tokens").ToArray(), rows = golden.Span<int>("rows").ToArray();
        using var session = new LlamaSession(sample.Model, tokens.Length);
        using var dense = new NaiveAttention(sample.Device);
        var errors = new List<double>();
        using var layer4 = new NaiveAttention(sample.Device)
        {
            Inspect = (_, query, key, value) => errors.AddRange(
                [.. Errors(golden, "q", rows, query), .. Errors(golden, "k", rows, key), .. Errors(golden, "v", rows, value)]),
        };
        session.Prefill(tokens, layer => layer == 4 ? layer4 : dense);
        Assert.Equal(8 * rows.Length, errors.Count);
        output.WriteLine($"relative error a row: mean {errors.Average():F4}, largest {errors.Max():F4}");
        // The reference ran in bfloat16 throughout (2^-9 a rounding, four layers deep); a wrong convention anywhere gives about 1.
        Assert.InRange(errors.Average(), 0, 0.02);
        Assert.InRange(errors.Max(), 0, 0.15);
    }

    [Fact]
    public void HomePromptsAreAnsweredRight()
    {
        using var dense = new NaiveAttention(sample.Device);
        using var session = new LlamaSession(sample.Model, 2048);
        foreach (EvaluationPrompt prompt in EvaluationPrompt.Read(SampleModel.Prompts(2048)).Where(prompt => prompt.Kind == "home").Take(4))
        {
            session.Reset();
            session.Prefill(sample.Tokenizer.Encode(prompt.Prompt), _ => dense);
            Assert.Equal(prompt.Answer, sample.Tokenizer.Decode(session.DecodeGreedily(1, dense)));
        }
    }

    [Fact]
    public void ChunksOfARealPromptGiveTheSameBits()
    {
        int[] tokens = sample.Tokenizer.Encode(EvaluationPrompt.Read(SampleModel.Prompts(2048), 1)[0].Prompt)[..700];
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
    public void TheDriftProfilePicksHalfOfTheLayers()
    {
        int[] tokens = sample.Tokenizer.Encode(EvaluationPrompt.Read(SampleModel.Prompts(2048), 1)[0].Prompt)[..600];
        using var dense = new NaiveAttention(sample.Device);
        DriftProfile profile = DriftProfile.Measure(sample.Model, tokens, dense);
        output.WriteLine(string.Join(", ", profile.Drift.Select(drift => drift.ToString("F3", null))));
        output.WriteLine(string.Join(", ", profile.SparseLayers()));
        Assert.Equal(4, profile.SparseLayers().Count);
        Assert.DoesNotContain(0, profile.SparseLayers()); // the first layer turns embeddings into something else
        Assert.True(profile.SparseLayers().Max(layer => profile.Drift[layer])
            <= Enumerable.Range(0, 8).Except(profile.SparseLayers()).Min(layer => profile.Drift[layer]));
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
