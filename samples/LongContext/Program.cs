// Answers questions about long documents twice, with dense attention and with token-sparse attention in half of the layers,
// and says what that cost and saved. Usage: LongContext [prompts of each length, 20 by default]

using System.Diagnostics;
using System.Globalization;
using System.Numerics.Tensors;
using AttnCompose;
using AttnCompose.Models;
using AttnCompose.Pipelines;
using Spectre.Console;

const double Coverage = 0.3; // attention mass that a layer may drop
const int MinTokens = 256;

if (args.Length > 1 || !int.TryParse(args.FirstOrDefault("20"), CultureInfo.InvariantCulture, out int limit) || limit < 1)
{
    Console.Error.WriteLine("usage: LongContext [prompts of each length]");
    return 2;
}
bool terminal = AnsiConsole.Profile.Out.IsTerminal;
if (!terminal)
{
    AnsiConsole.Profile.Width = 120; // a table that is folded at 80 is no use in a log
    AnsiConsole.Profile.Capabilities.Ansi = false;
    AnsiConsole.Profile.Capabilities.ColorSystem = ColorSystem.NoColors;
}

using var device = AttentionDevice.Cpu();
using var dense = DenseAttention.Create(device);
using var sparse = TokenSparsePrefill.Create(device, new() { Coverage = Coverage, MinTokens = MinTokens });

string folder = Path.Combine(AppContext.BaseDirectory, "model");
using LlamaModel model = LlamaModel.Load(folder, device);
WordLevelTokenizer tokenizer = WordLevelTokenizer.Load(Path.Combine(folder, "tokenizer.json"));
IReadOnlyList<EvaluationPrompt> Prompts(int tokens) =>
    EvaluationPrompt.Read(Path.Combine(AppContext.BaseDirectory, "prompts", $"recall_{tokens}.jsonl"), limit);

// Which layers may be sparse: those that change their input least, measured on one prompt.
int[] sample = tokenizer.Encode(Prompts(2048)[0].Prompt);
DriftProfile profile = DriftProfile.Measure(model, sample, dense);
IReadOnlyList<int> layers = profile.SparseLayers();

string drift = string.Join("  ", profile.Drift.Select((value, layer) => Invariant($"{layer}: {value:0.00}")));
LlamaConfig shape = model.Config;
AnsiConsole.MarkupLineInterpolated($"[bold]{shape.Layers} layers, {shape.QueryHeads} heads of {shape.HeadDim}[/] on {device}");
AnsiConsole.MarkupLineInterpolated($"drift of the layers: {drift}");
AnsiConsole.MarkupLineInterpolated($"token-sparse in layers [bold]{string.Join(", ", layers)}[/], which drift least");
AnsiConsole.MarkupLineInterpolated($"a question: \"... {Ending(sample, 4)}\", its answer: \"{Prompts(2048)[0].Answer}\"");
AnsiConsole.WriteLine();

Table answers = new Table().Title("Right answers, and time of a prompt")
    .AddColumns("tokens", "prompts", "attention", "home", "code", "kept", "attention s", "total s", "faster");
Table origin = new Table().Title("Where the speed came from: attention of one sparse layer")
    .AddColumns("tokens", "pairs kept", "dense ms", "sparse ms", "attending", "scoring, selecting, moving");
var evaluation = new Evaluation(model, tokenizer, dense);
foreach (int length in (int[])[2048, 4096])
{
    IReadOnlyList<EvaluationPrompt> prompts = Prompts(length);
    EvaluationResult result = WithBar(
        $"{length} tokens", prompts.Count, report => evaluation.Run(prompts, sparse, layers, report));
    EvaluationRow total = result.Total;
    double count = total.Prompts;
    answers.AddRow(
        $"{length}", $"{count}", "dense",
        Accuracy(result, "home", row => row.DenseAccuracy), Accuracy(result, "code", row => row.DenseAccuracy), "100 %",
        Invariant($"{total.DenseAttentionSeconds / count:0.000}"), Invariant($"{total.DenseSeconds / count:0.000}"), "");
    answers.AddRow(
        "", "", "token-sparse",
        Accuracy(result, "home", row => row.Accuracy), Accuracy(result, "code", row => row.Accuracy),
        Invariant($"{100 * total.Kept:0} %"), Invariant($"{total.AttentionSeconds / count:0.000}"),
        Invariant($"{total.Seconds / count:0.000}"), Invariant($"{total.DenseSeconds / total.Seconds:0.00}x"));

    // A layer's time, taken apart: dense attention over as many tokens as were kept is what is left of attention.
    int all = shape.Layers;
    double denseLayer = total.DenseAttentionSeconds / count / all;
    double sparseLayer = (total.AttentionSeconds / count - denseLayer * (all - layers.Count)) / layers.Count;
    double attending = Math.Min(TimeDense((int)(total.Kept * length)), sparseLayer);
    double pairs = 1 - (1 - total.Pairs) * all / layers.Count;
    origin.AddRow(
        $"{length}", Invariant($"{100 * pairs:0} %"), Milliseconds(denseLayer), Milliseconds(sparseLayer),
        Milliseconds(attending), Milliseconds(sparseLayer - attending));
}
AnsiConsole.Write(answers);
AnsiConsole.WriteLine();
AnsiConsole.Write(origin);
AnsiConsole.MarkupLine("[dim]Decoding is dense over the whole cache in both. An answer is right when every word of it is.[/]");
return 0;

static string Invariant(FormattableString text) => FormattableString.Invariant(text);

static string Milliseconds(double seconds) => Invariant($"{1e3 * seconds:0.0}");

static string Accuracy(EvaluationResult result, string kind, Func<EvaluationRow, double> accuracy) =>
    result.Rows.FirstOrDefault(row => row.Kind == kind) is { } row ? Invariant($"{accuracy(row):0.00}") : "-";

string Ending(int[] tokens, int last) => tokenizer.Decode(tokens.AsSpan(tokens.Length - last));

// Seconds of one dense attention call of the model's shape, mean of five after one more.
double TimeDense(int tokens)
{
    int heads = shape.QueryHeads, keyValueHeads = shape.KeyValueHeads, dim = shape.HeadDim;
    var random = new Random(1);
    float[] Make(int count) => [.. Enumerable.Range(0, count * tokens * dim).Select(_ => random.NextSingle() - 0.5f)];
    float[] query = Make(heads), key = Make(keyValueHeads), value = Make(keyValueHeads), output = new float[query.Length];
    long start = 0;
    for (int i = 0; i <= 5; i++)
    {
        if (i == 1)
            start = Stopwatch.GetTimestamp();
        dense.Run(View(query, heads), View(key, keyValueHeads), View(value, keyValueHeads), View(output, heads));
    }
    return Stopwatch.GetElapsedTime(start).TotalSeconds / 5;

    TensorSpan<float> View(Span<float> data, int count) => AttentionTensor.FromBlhd(data, 1, tokens, count, dim);
}

// A bar on a terminal; silence in a log.
EvaluationResult WithBar(string what, int prompts, Func<Action<EvaluationProgress>?, EvaluationResult> run)
{
    if (!terminal || !AnsiConsole.Profile.Capabilities.Interactive)
        return run(null);
    return AnsiConsole.Progress().AutoClear(true)
        .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
        .Start(context =>
        {
            ProgressTask bar = context.AddTask(what, maxValue: prompts);
            return run(progress => bar.Value = progress.Done);
        });
}
