using System.Diagnostics;

namespace AttnCompose.Models.Tests;

public sealed class SampleModelTests(SampleModel sample, Xunit.Abstractions.ITestOutputHelper output) : IClassFixture<SampleModel>
{
    [Fact]
    public void Scratch()
    {
        using var session = new LlamaSession(sample.Model, 2100);
        using var dense = new NaiveAttention(sample.Device);
        var drift = new double[8];
        int right = 0, n = 0;
        foreach (EvaluationPrompt prompt in EvaluationPrompt.Read(SampleModel.Prompts(2048), 20))
        {
            int[] tokens = sample.Tokenizer.Encode(prompt.Prompt);
            session.Reset();
            var watch = Stopwatch.StartNew();
            session.Prefill(tokens, _ => dense);
            double total = watch.Elapsed.TotalSeconds;
            int[] answer = sample.Tokenizer.Encode(prompt.Answer);
            int[] got = session.DecodeGreedily(answer.Length + 1, dense);
            double att = session.Reports.Sum(r => r.AttentionSeconds);
            n++;
            output.WriteLine($"{prompt.Id} {total:F3} '{prompt.Answer}' '{sample.Tokenizer.Decode(got)}' eos={got.Length <= answer.Length}");
            if (sample.Tokenizer.Decode(got).StartsWith(prompt.Answer)) right++;
        }
        output.WriteLine($"{right}/{n}");
    }
}
