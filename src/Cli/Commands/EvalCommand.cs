using System.CommandLine;
using System.Globalization;
using AttnCompose.Cpu;
using AttnCompose.Models;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose eval</c>: how pipelines answer prompts in a model, beside dense attention.</summary>
internal static class EvalCommand
{
    /// <summary>What every pipeline is compared with, and the attention of decode steps and of layers that stay dense.</summary>
    private const string Dense = "dense-attention";

    public static Command Create(CommandContext context)
    {
        var pipeline = new Option<string[]>("--pipeline")
        {
            Description = "Pipelines, such as token-sparse-prefill.",
            HelpName = "name",
            Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true,
        };
        var all = new Option<bool>("--all") { Description = "Every ready pipeline that needs no block list of the caller." };
        Option<string> device = CommonOptions.Device();
        Option<string[]> set = CommonOptions.Set();
        var model = new Option<string>("--model")
        {
            Description = "Folder with config.json, tokenizer.json and model.safetensors.",
            HelpName = "folder",
            Required = true,
        };
        var prompts = new Option<string[]>("--prompts")
        {
            Description = "One JSON object with id, kind, prompt and answer a line; may be given several times.",
            HelpName = "file.jsonl",
            Required = true,
            Arity = ArgumentArity.OneOrMore,
        };
        var layers = new Option<string?>("--layers")
        {
            Description = "Layers that run the pipeline; without it, the half that changes its input least on the first prompt.",
            HelpName = "2,3,5,6",
        };
        var limit = new Option<int?>("--limit") { Description = "Stop after so many prompts of a file.", HelpName = "N" };
        var json = new Option<string?>("--json")
        {
            Description = "Also write the results to a file; for one pipeline and one file of prompts.",
            HelpName = "out.json",
        };
        var markdown = new Option<string?>("--markdown")
        {
            Description = "Also write tables, one for each file of prompts.",
            HelpName = "out.md",
        };
        var command = new Command("eval", "Measure the accuracy of pipelines in a model, beside dense attention.")
        {
            pipeline, all, model, prompts, layers, set, device, limit, json, markdown,
        };
        command.SetAction(parsed => Run(
            context,
            new Request(
                Chosen(context, parsed.GetValue(pipeline) ?? [], parsed.GetValue(all)),
                parsed.GetRequiredValue(model),
                parsed.GetRequiredValue(prompts),
                parsed.GetValue(layers) is { } text ? CommonOptions.ParseLayers(text) : null,
                CommonOptions.ParseSettings(parsed.GetValue(set)),
                parsed.GetValue(device)!,
                parsed.GetValue(limit) ?? int.MaxValue,
                parsed.GetValue(json),
                parsed.GetValue(markdown))));
        return command;
    }

    private static PipelineDescriptor[] Chosen(CommandContext context, string[] names, bool all)
    {
        if (all == (names.Length > 0))
            throw new UsageException("eval takes --pipeline or --all, and one of them is needed.");
        return all
            ? [.. context.Pipelines.Where(CommonOptions.RunsAlone)]
            : [.. names.Select(name => CommonOptions.WithoutTensors(context.Find(name), "eval"))];
    }

    private static int Run(CommandContext context, Request request)
    {
        if (request.Limit < 1)
            throw new UsageException($"--limit must be at least 1; got {request.Limit}.");
        if (request.Json is not null && (request.Pipelines.Count > 1 || request.Prompts.Count > 1))
            throw new UsageException("--json takes one pipeline and one file of prompts; --markdown takes any number.");
        using AttentionDevice device = CommonOptions.OpenDevice(request.Device);
        using CpuDevice? own = device is CpuDevice ? null : AttentionDevice.Cpu();
        Contestant[] contestants = Contestants(request, device);
        try
        {
            using IAttentionPipeline dense = CommonOptions.CreatePipeline(context.Find(Dense), device, []);
            foreach (string file in (string[])[.. new[] { request.Json, request.Markdown }.OfType<string>()])
            {
                foreach (string prompts in request.Prompts)
                    OutputFile.Check(file, prompts);
            }
            (string Path, IReadOnlyList<EvaluationPrompt> Prompts)[] prompted =
                [.. request.Prompts.Select(path => (path, EvaluationPrompt.Read(path, request.Limit)))];
            WordLevelTokenizer tokenizer = WordLevelTokenizer.Load(Path.Combine(request.Model, "tokenizer.json"));
            using LlamaModel model = LlamaModel.Load(request.Model, own ?? (CpuDevice)device);
            if (request.Layers?.FirstOrDefault(layer => layer >= model.Config.Layers, -1) is { } beyond and >= 0)
                throw new UsageException($"--layers names layer {beyond}; the model has layers 0 to {model.Config.Layers - 1}.");
            IReadOnlyList<int> layers = request.Layers
                ?? DriftProfile.Measure(model, tokenizer.Encode(prompted[0].Prompts[0].Prompt), dense).SparseLayers();

            string chosen = request.Layers is null ? ", chosen by their drift on the first prompt" : "";
            string where = $"layers {string.Join(", ", layers)} of {model.Config.Layers}{chosen}; dense attention in the others";
            context.Output.WriteLine($"{string.Join(", ", contestants.Select(c => c.Pipeline.PipelinePlan.Name))} on {device}");
            context.Output.WriteLine(where);
            var report = new EvalReport(where);
            foreach ((string path, IReadOnlyList<EvaluationPrompt> prompts) in prompted)
            {
                string name = Path.GetFileNameWithoutExtension(path);
                var evaluation = new Evaluation(model, tokenizer, dense);
                foreach ((IAttentionPipeline pipeline, string settings) in contestants)
                {
                    EvaluationResult result = EvalProgress.Track(
                        context, prompts.Count, progress => evaluation.Run(prompts, pipeline, layers, progress));
                    if (contestants.Length > 1 || prompted.Length > 1)
                        context.Output.WriteLine($"\n{name}, {pipeline.PipelinePlan.Name} {settings}".TrimEnd());
                    Print(context.Output, result);
                    report.Add(name, pipeline.PipelinePlan.Name, settings, result);
                    if (request.Json is not null)
                    {
                        result.WriteJson(request.Json);
                        context.Output.WriteLine($"wrote {request.Json}");
                    }
                }
            }
            if (request.Markdown is not null)
            {
                File.WriteAllText(request.Markdown, report.ToMarkdown());
                context.Output.WriteLine($"wrote {request.Markdown}");
            }
            return 0;
        }
        finally
        {
            foreach (Contestant contestant in contestants)
                contestant.Pipeline.Dispose();
        }
    }

    /// <summary>The pipelines, each with the settings that it has; of several, one must have each setting.</summary>
    private static Contestant[] Contestants(Request request, AttentionDevice device)
    {
        if (request.Pipelines.Count > 1)
            CommonOptions.CheckSettings(request.Settings, request.Pipelines);
        var made = new List<Contestant>();
        foreach (PipelineDescriptor pipeline in request.Pipelines)
        {
            IReadOnlyList<KeyValuePair<string, string>> settings =
                request.Pipelines.Count > 1 ? CommonOptions.SettingsOf(pipeline, request.Settings) : request.Settings;
            made.Add(new(
                CommonOptions.CreatePipeline(pipeline, device, settings),
                string.Join(' ', settings.Select(setting => $"{setting.Key}={setting.Value}"))));
        }
        return [.. made];
    }

    private static void Print(TextWriter output, EvaluationResult result)
    {
        output.WriteLine();
        output.WriteLine("kind        prompts  accuracy  (dense)    kept   pairs   attention s  (dense)     total s  (dense)");
        IEnumerable<EvaluationRow> rows = result.Rows.Count > 1 ? result.Rows.Append(result.Total) : result.Rows;
        foreach (EvaluationRow row in rows)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{row.Kind,-10} {row.Prompts,8} {row.Accuracy,9:0.000} {row.DenseAccuracy,8:0.000} {row.Kept,7:P1} {row.Pairs,7:P1}"
                + $" {row.AttentionSeconds,13:0.00} {row.DenseAttentionSeconds,8:0.00} {row.Seconds,11:0.00} {row.DenseSeconds,8:0.00}"));
        }
    }

    private readonly record struct Contestant(IAttentionPipeline Pipeline, string Settings);

    private sealed record Request(
        IReadOnlyList<PipelineDescriptor> Pipelines, string Model, IReadOnlyList<string> Prompts, IReadOnlyList<int>? Layers,
        IReadOnlyList<KeyValuePair<string, string>> Settings, string Device, int Limit, string? Json, string? Markdown);
}
