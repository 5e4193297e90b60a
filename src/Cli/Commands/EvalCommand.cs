using System.CommandLine;
using System.Globalization;
using AttnCompose.Cpu;
using AttnCompose.Models;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose eval</c>: how a pipeline answers prompts in a model, beside dense attention.</summary>
internal static class EvalCommand
{
    /// <summary>What every pipeline is compared with, and the attention of decode steps and of layers that stay dense.</summary>
    private const string Dense = "dense-attention";

    public static Command Create(CommandContext context)
    {
        Option<string> pipeline = CommonOptions.Pipeline();
        Option<string> device = CommonOptions.Device();
        Option<string[]> set = CommonOptions.Set();
        var model = new Option<string>("--model")
        {
            Description = "Folder with config.json, tokenizer.json and model.safetensors.",
            HelpName = "folder",
            Required = true,
        };
        var prompts = new Option<string>("--prompts")
        {
            Description = "One JSON object with id, kind, prompt and answer a line.",
            HelpName = "file.jsonl",
            Required = true,
        };
        var layers = new Option<string?>("--layers")
        {
            Description = "Layers that run the pipeline; without it, the half that changes its input least on the first prompt.",
            HelpName = "2,3,5,6",
        };
        var limit = new Option<int?>("--limit") { Description = "Stop after so many prompts.", HelpName = "N" };
        var json = new Option<string?>("--json") { Description = "Also write the results to a file.", HelpName = "out.json" };
        var command = new Command("eval", "Measure the accuracy of a pipeline in a model, beside dense attention, by kind of prompt.")
        {
            pipeline, model, prompts, layers, set, device, limit, json,
        };
        command.SetAction(parsed => Run(
            context,
            new Request(
                context.Find(parsed.GetRequiredValue(pipeline)),
                parsed.GetRequiredValue(model),
                parsed.GetRequiredValue(prompts),
                parsed.GetValue(layers) is { } text ? CommonOptions.ParseLayers(text) : null,
                CommonOptions.ParseSettings(parsed.GetValue(set)),
                parsed.GetValue(device)!,
                parsed.GetValue(limit) ?? int.MaxValue,
                parsed.GetValue(json))));
        return command;
    }

    private static int Run(CommandContext context, Request request)
    {
        if (request.Limit < 1)
            throw new UsageException($"--limit must be at least 1; got {request.Limit}.");
        using AttentionDevice device = CommonOptions.OpenDevice(request.Device);
        using CpuDevice? own = device is CpuDevice ? null : AttentionDevice.Cpu();
        using IAttentionPipeline pipeline = CommonOptions.CreatePipeline(request.Pipeline, device, request.Settings);
        using IAttentionPipeline dense = CommonOptions.CreatePipeline(context.Find(Dense), device, []);
        if (request.Json is not null)
            OutputFile.Check(request.Json, request.Prompts);
        IReadOnlyList<EvaluationPrompt> prompts = EvaluationPrompt.Read(request.Prompts, request.Limit);
        WordLevelTokenizer tokenizer = WordLevelTokenizer.Load(Path.Combine(request.Model, "tokenizer.json"));
        using LlamaModel model = LlamaModel.Load(request.Model, own ?? (CpuDevice)device);
        if (request.Layers?.FirstOrDefault(layer => layer >= model.Config.Layers, -1) is { } beyond and >= 0)
            throw new UsageException($"--layers names layer {beyond}; the model has layers 0 to {model.Config.Layers - 1}.");
        IReadOnlyList<int> layers = request.Layers
            ?? DriftProfile.Measure(model, tokenizer.Encode(prompts[0].Prompt), dense).SparseLayers();

        string chosen = request.Layers is null ? ", chosen by their drift on the first prompt" : "";
        context.Output.WriteLine($"{request.Pipeline.Name} on {device}");
        context.Output.WriteLine($"layers {string.Join(", ", layers)} of {model.Config.Layers}{chosen}; dense attention in the others");
        EvaluationResult result = EvalProgress.Track(
            context, prompts.Count, report => new Evaluation(model, tokenizer, dense).Run(prompts, pipeline, layers, report));
        Print(context.Output, result);
        if (request.Json is not null)
        {
            result.WriteJson(request.Json);
            context.Output.WriteLine($"wrote {request.Json}");
        }
        return 0;
    }

    private static void Print(TextWriter output, EvaluationResult result)
    {
        output.WriteLine();
        output.WriteLine("kind        prompts  accuracy  (dense)    kept   attention s  (dense)     total s  (dense)");
        IEnumerable<EvaluationRow> rows = result.Rows.Count > 1 ? result.Rows.Append(result.Total) : result.Rows;
        foreach (EvaluationRow row in rows)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{row.Kind,-10} {row.Prompts,8} {row.Accuracy,9:0.000} {row.DenseAccuracy,8:0.000} {row.Kept,7:P1}"
                + $" {row.AttentionSeconds,13:0.00} {row.DenseAttentionSeconds,8:0.00} {row.Seconds,11:0.00} {row.DenseSeconds,8:0.00}"));
        }
    }

    private sealed record Request(
        PipelineDescriptor Pipeline, string Model, string Prompts, IReadOnlyList<int>? Layers,
        IReadOnlyList<KeyValuePair<string, string>> Settings, string Device, int Limit, string? Json);
}
