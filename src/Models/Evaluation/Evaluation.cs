using System.Diagnostics;

namespace AttnCompose.Models;

/// <summary>How far an evaluation has come.</summary>
/// <param name="Prompt">The prompt just answered.</param>
/// <param name="Right">Whether it was answered right under the pipeline.</param>
/// <param name="DenseRight">Whether it was answered right under dense attention.</param>
/// <param name="Done">Prompts done, this one included.</param>
/// <param name="Total">All prompts.</param>
/// <param name="TimeLeft">Time left, from the time that the tokens so far took.</param>
public readonly record struct EvaluationProgress(
    EvaluationPrompt Prompt, bool Right, bool DenseRight, int Done, int Total, TimeSpan TimeLeft);

/// <summary>
/// Exact-match accuracy of greedy decoding after a prefill whose sparse layers run under a pipeline, beside dense attention in
/// every layer. Decode steps are dense in both, over the whole cache, as the paper has it.
/// </summary>
public sealed class Evaluation
{
    private const int WarmUpTokens = 1024;

    private readonly LlamaModel _model;
    private readonly WordLevelTokenizer _tokenizer;
    private readonly IAttentionPipeline _dense;
    private readonly Dictionary<EvaluationPrompt, Measured> _plain = [];

    /// <summary>An evaluation of one model.</summary>
    /// <param name="model">The model; not owned.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="dense">Dense causal attention: what is compared with, and the attention of decode steps; not owned.</param>
    /// <exception cref="ModelFormatException">The tokenizer has tokens that the model lacks.</exception>
    public Evaluation(LlamaModel model, WordLevelTokenizer tokenizer, IAttentionPipeline dense)
    {
        (_model, _tokenizer, _dense) = (model, tokenizer, dense);
        if (tokenizer.LargestId >= model.Config.VocabularySize)
        {
            throw new ModelFormatException(
                $"The tokenizer has a token {tokenizer.LargestId}; the model's vocabulary has {model.Config.VocabularySize}.");
        }
    }

    /// <summary>
    /// Answers each prompt dense and under the pipeline. The dense answers, and their times, are kept: a second pipeline over the
    /// same prompts is compared with those of the first run.
    /// </summary>
    /// <param name="prompts">The prompts.</param>
    /// <param name="pipeline">The pipeline of the sparse layers; not owned.</param>
    /// <param name="sparseLayers">Layers that run it.</param>
    /// <param name="progress">Optional: called after each prompt, on the calling thread.</param>
    /// <param name="cancellation">Ends the evaluation between two prompts.</param>
    /// <exception cref="ArgumentOutOfRangeException">A layer is not one of the model's.</exception>
    public EvaluationResult Run(
        IReadOnlyList<EvaluationPrompt> prompts, IAttentionPipeline pipeline, IReadOnlyList<int> sparseLayers,
        Action<EvaluationProgress>? progress = null, CancellationToken cancellation = default)
    {
        var isSparse = new bool[_model.Config.Layers];
        foreach (int layer in sparseLayers)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(layer, nameof(sparseLayers));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(layer, isSparse.Length, nameof(sparseLayers));
            isSparse[layer] = true;
        }
        Func<int, IAttentionPipeline> dense = _ => _dense;
        Func<int, IAttentionPipeline> sparse = layer => isSparse[layer] ? pipeline : _dense;

        var tasks = prompts
            .Select(prompt =>
                (Prompt: prompt, Tokens: _tokenizer.Encode(prompt.Prompt), Answer: _tokenizer.Encode(prompt.Answer)))
            .ToArray();
        foreach (var task in tasks)
        {
            if (task.Tokens.Length == 0 || task.Answer.Length == 0)
                throw new ModelFormatException($"Prompt {task.Prompt.Id} or its answer has no tokens.");
        }
        if (tasks.Length == 0)
            return new EvaluationResult([], [.. sparseLayers]) { Layers = isSparse.Length };

        using var session = new LlamaSession(_model, tasks.Max(task => task.Tokens.Length + task.Answer.Length));
        // Compiling the code is not what is to be measured.
        int[] first = tasks[0].Tokens[..Math.Min(WarmUpTokens, tasks[0].Tokens.Length)];
        Answer(session, first, 1, dense);
        Answer(session, first, 1, sparse);

        var rows = new Dictionary<string, EvaluationRow>();
        double workDone = 0, workAll = tasks.Sum(task => Work(task.Tokens.Length));
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < tasks.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            (EvaluationPrompt prompt, int[] tokens, int[] answer) = tasks[i];
            if (!_plain.TryGetValue(prompt, out Measured plain))
                _plain.Add(prompt, plain = Answer(session, tokens, answer.Length, dense));
            Measured under = Answer(session, tokens, answer.Length, sparse);
            bool right = under.Tokens.AsSpan().SequenceEqual(answer);
            bool denseRight = plain.Tokens.AsSpan().SequenceEqual(answer);
            EvaluationRow row = rows.GetValueOrDefault(prompt.Kind)
                ?? new EvaluationRow { Pipeline = pipeline.PipelinePlan.Name, Kind = prompt.Kind };
            rows[prompt.Kind] = row with
            {
                Prompts = row.Prompts + 1,
                Right = row.Right + (right ? 1 : 0),
                DenseRight = row.DenseRight + (denseRight ? 1 : 0),
                Kept = (row.Kept * row.Prompts + under.Kept) / (row.Prompts + 1),
                Pairs = (row.Pairs * row.Prompts + under.Pairs) / (row.Prompts + 1),
                Seconds = row.Seconds + under.Seconds,
                DenseSeconds = row.DenseSeconds + plain.Seconds,
                AttentionSeconds = row.AttentionSeconds + under.AttentionSeconds,
                DenseAttentionSeconds = row.DenseAttentionSeconds + plain.AttentionSeconds,
            };
            workDone += Work(tokens.Length);
            TimeSpan left = Stopwatch.GetElapsedTime(start) * ((workAll - workDone) / workDone);
            progress?.Invoke(new EvaluationProgress(prompt, right, denseRight, i + 1, tasks.Length, left));
        }
        return new EvaluationResult([.. rows.Values], [.. sparseLayers]) { Layers = isSparse.Length };

        // Time grows with the length, and with its square where attention is most of it.
        double Work(int tokens) => tokens * (tokens + 8.0 * _model.Config.HiddenSize);
    }

    private Measured Answer(LlamaSession session, int[] prompt, int most, Func<int, IAttentionPipeline> attention)
    {
        session.Reset();
        long start = Stopwatch.GetTimestamp();
        session.Prefill(prompt, attention);
        LayerReport[] reports = [.. session.Reports];
        int[] tokens = session.DecodeGreedily(most, _dense);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new Measured(
            tokens, seconds, reports.Sum(report => report.AttentionSeconds),
            reports.Where(report => report.Selected).Select(report => report.KeptFraction).DefaultIfEmpty(1).Average(),
            reports.Sum(report => report.KeptPairs) / reports.Sum(report => report.AllPairs));
    }

    private readonly record struct Measured(int[] Tokens, double Seconds, double AttentionSeconds, double Kept, double Pairs);
}
