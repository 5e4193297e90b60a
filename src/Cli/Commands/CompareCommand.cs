using System.CommandLine;
using System.Globalization;
using System.Text;
using AttnCompose.Cli.Bench;
using AttnCompose.Cli.Compare;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose compare</c>: density, error against dense and time of pipelines on given heads.</summary>
internal static class CompareCommand
{
    private const string Dense = "dense-attention";

    public static Command Create(CommandContext context)
    {
        var pipelines = new Option<string[]>("--pipeline")
        {
            Description = "Pipelines; without it, every ready one that is causal and needs nothing of the caller beside q, k and v.",
            HelpName = "name", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true,
        };
        Option<string> device = CommonOptions.Device();
        Option<string[]> set = CommonOptions.Set();
        var lengths = new Option<string?>("--length") { Description = "Synthetic heads of these lengths.", HelpName = "8K,32K" };
        var heads = new Option<int>("--heads") { Description = "Synthetic query heads.", DefaultValueFactory = _ => 8 };
        var keyValueHeads = new Option<int>("--kv-heads")
        {
            Description = "Synthetic key/value heads.", DefaultValueFactory = _ => 2,
        };
        var headDim = new Option<int>("--head-dim") { Description = "Synthetic head dim.", DefaultValueFactory = _ => 128 };
        var seed = new Option<int>("--seed") { Description = "Seed of the synthetic heads.", DefaultValueFactory = _ => 1 };
        var noise = new Option<double?>("--noise")
        {
            Description = "Share of attention that is noise in every synthetic head, in (0, 1); without it, each profile's own.",
            HelpName = "0.03",
        };
        var input = new Option<string[]>("--input")
        {
            Description = "safetensors files with q, k and v, [1, heads, length, dim].", HelpName = "in.safetensors",
            Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true,
        };
        var model = new Option<string?>("--model")
        {
            Description = "Also the tensors of a model that reads a prompt.", HelpName = "folder",
        };
        var prompts = new Option<string?>("--prompts")
        {
            Description = "Whose first prompt the model reads.", HelpName = "file.jsonl",
        };
        var layers = new Option<string>("--layers")
        {
            Description = "Layers of the model.", HelpName = "2,5", DefaultValueFactory = _ => "4",
        };
        var element = new Option<string>("--element")
        {
            Description = "fp32, fp16 or bf16; on a GPU one of the last two.", DefaultValueFactory = _ => "bf16",
        };
        element.AcceptOnlyFromAmong("fp32", "fp16", "bf16");
        var sweep = new Option<bool>("--sweep") { Description = "Vary the options that say how much is kept." };
        var values = new Option<string[]>("--values")
        {
            Description = "With --sweep: the values of an option, 0.5L being half of the length.", HelpName = "Name=a,b,c",
            Arity = ArgumentArity.OneOrMore,
        };
        var errors = new Option<string>("--equal-error")
        {
            Description = "With --sweep: errors at which times are compared.", HelpName = "0.02,0.05",
            DefaultValueFactory = _ => "0.02,0.05,0.1",
        };
        var measure = new Option<string>("--measure")
        {
            Description = "Whose error that is: of all rows, of those that were computed, or of the last 128.",
            DefaultValueFactory = _ => "computed",
        };
        measure.AcceptOnlyFromAmong("all", "computed", "last");
        var samples = new Option<int>("--samples") { Description = "Samples of a time.", DefaultValueFactory = _ => 5 };
        var markdown = new Option<string?>("--markdown") { Description = "Also write the tables to a file.", HelpName = "out.md" };
        var command = new Command("compare", "Compare pipelines on given heads: density, error against dense attention, time.")
        {
            pipelines, device, set, lengths, heads, keyValueHeads, headDim, seed, noise, input, model, prompts, layers, element,
            sweep, values, errors, measure, samples, markdown,
        };
        command.SetAction(parsed =>
        {
            bool sweeps = parsed.GetValue(sweep);
            if (!sweeps && parsed.GetValue(values) is { Length: > 0 })
                throw new UsageException("--values says what --sweep tries; give both.");
            if (parsed.GetValue(samples) < 1)
                throw new UsageException("--samples must be at least 1.");
            double? noiseShare = parsed.GetValue(noise);
            if (noiseShare is not (null or > 0 and < 1))
            {
                throw new UsageException(FormattableString.Invariant(
                    $"--noise is a share of the attention, above 0 and below 1: the other parts are made beside it; got {noiseShare}."));
            }
            string? synthetic = parsed.GetValue(lengths);
            string[] files = parsed.GetValue(input) ?? [];
            if ((parsed.GetValue(model) is null) != (parsed.GetValue(prompts) is null))
                throw new UsageException("--model and --prompts belong together.");
            if (parsed.GetValue(markdown) is { } path)
                OutputFile.Check(path, files.FirstOrDefault());
            int dim = parsed.GetValue(headDim), queryHeads = parsed.GetValue(heads), keyHeads = parsed.GetValue(keyValueHeads);
            if (dim is < 32 or > 256 || dim % 8 != 0 || keyHeads < 1 || queryHeads < keyHeads || queryHeads % keyHeads != 0)
                throw new UsageException("--head-dim is a multiple of 8 in [32, 256], and --heads a multiple of --kv-heads.");
            IEnumerable<Func<HeadTensors>> tensors = files.Select(file => (Func<HeadTensors>)(() => HeadTensors.Read(file)));
            if (parsed.GetValue(model) is { } folder)
            {
                tensors = tensors.Concat(HeadTensors.Capture(
                    folder, parsed.GetValue(prompts)!, CommonOptions.ParseLayers(parsed.GetValue(layers)!))
                    .Select(captured => (Func<HeadTensors>)(() => captured)));
            }
            if (synthetic is null && tensors.Any())
            {
                if (noiseShare is not null)
                    throw new UsageException("--noise is of synthetic heads; give their --length too.");
            }
            else
            {
                tensors = tensors.Concat(BenchRequest.ParseLengths(synthetic ?? "4K").Select(length => (Func<HeadTensors>)(() =>
                    SyntheticHeads.Make(new(1, queryHeads, keyHeads, length, length, dim), parsed.GetValue(seed), noiseShare))));
            }
            PipelineDescriptor[] chosen = parsed.GetValue(pipelines) is { Length: > 0 } names
                ? [.. names.Select(name => CommonOptions.WithoutTensors(context.Find(name), "compare"))]
                : [.. context.Pipelines.Where(p => CommonOptions.RunsAlone(p) && p.Plan.Mask == AttentionMask.Causal)];
            var settings = CommonOptions.ParseSettings(parsed.GetValue(set));
            CommonOptions.CheckSettings(settings, chosen);
            var own = CommonOptions.ParseSettings(parsed.GetValue(values))
                .ToDictionary(entry => entry.Key, entry => entry.Value.Split(',', StringSplitOptions.TrimEntries));
            CommonOptions.CheckSettings([.. own.Select(entry => new KeyValuePair<string, string>(entry.Key, ""))], chosen);
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            var request = new Request(
                chosen, settings, sweeps ? new Sweep(settings, own) : null, opened, parsed.GetValue(samples),
                MeasureOf(parsed.GetValue(measure)!), ParseErrors(parsed.GetValue(errors)!));
            var tables = new StringBuilder();
            foreach (Func<HeadTensors> make in tensors)
            {
                string table = parsed.GetValue(element) switch
                {
                    "fp32" => Compare<float>(context, request, make()),
                    "fp16" => Compare<Half>(context, request, make()),
                    _ => Compare<BFloat16>(context, request, make()),
                };
                context.Output.Write(table);
                tables.Append(table);
            }
            if (parsed.GetValue(markdown) is { } file)
            {
                File.WriteAllText(file, tables.ToString());
                context.Output.WriteLine($"wrote {file}");
            }
            return 0;
        });
        return command;
    }

    private static string Compare<T>(CommandContext context, Request request, HeadTensors tensors)
        where T : unmanaged
    {
        var points = new List<ComparePoint>();
        using IAttentionPipeline dense = CommonOptions.CreatePipeline(context.Find(Dense), request.Device, []);
        using var run = new CompareRun<T>(tensors, request.Device, dense, request.Samples);
        points.Add(run.Measure(dense, ""));
        foreach (PipelineDescriptor pipeline in request.Pipelines.Where(pipeline => pipeline.Name != Dense))
        {
            IEnumerable<IReadOnlyList<KeyValuePair<string, string>>> sets =
                request.Sweep?.Of(pipeline, tensors.Shape.KeyLength) ?? [CommonOptions.SettingsOf(pipeline, request.Settings)];
            foreach (IReadOnlyList<KeyValuePair<string, string>> set in sets)
            {
                using IAttentionPipeline instance = CommonOptions.CreatePipeline(pipeline, request.Device, set);
                points.Add(run.Measure(instance, string.Join(' ', set.Select(setting => $"{setting.Key}={setting.Value}"))));
                context.Error.WriteLine($"{tensors.Name}: {pipeline.Name} {points[^1].Settings}".TrimEnd());
            }
        }
        return Table(request, tensors, points);
    }

    private static string Table(Request request, HeadTensors tensors, List<ComparePoint> points)
    {
        var text = new StringBuilder();
        ComparePoint dense = points[0];
        text.Append(CultureInfo.InvariantCulture, $"\n**{tensors.Name}**, {tensors.Shape}, on {request.Device}\n\n");
        text.Append("| pipeline | options | pairs | error, all rows | computed rows | last rows | largest | ms | of dense |\n");
        text.Append("|---|---|---|---|---|---|---|---|---|\n");
        foreach (ComparePoint p in points)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"| {p.Pipeline} | {p.Settings} | {100 * p.Density:0.0} % | {p.Error.All:0.0000} | {p.Error.Computed:0.0000}"
                + $" | {p.Error.Last:0.0000} | {p.LargestError:0.000} | {p.Milliseconds:0.000}"
                + $" | {p.Milliseconds / dense.Milliseconds:0.00} |\n");
        }
        if (request.Sweep is null)
            return text.ToString();
        text.Append(CultureInfo.InvariantCulture,
            $"\nMilliseconds at equal error of {Words(request.Measure)}; dense takes {dense.Milliseconds:0.000}:\n\n");
        text.Append("| pipeline |")
            .AppendJoin("", request.Errors.Select(error => FormattableString.Invariant($" {error} |"))).Append('\n');
        text.Append("|---|").AppendJoin("", request.Errors.Select(_ => "---|")).Append('\n');
        foreach (var own in points.Skip(1).GroupBy(point => point.Pipeline))
        {
            text.Append(CultureInfo.InvariantCulture, $"| {own.Key} |");
            foreach (double error in request.Errors)
            {
                text.Append(ComparePoint.TimeAt(own, request.Measure, error) is { } time
                    ? FormattableString.Invariant($" {time:0.000} |")
                    : " not reached |");
            }
            text.Append('\n');
        }
        return text.ToString();
    }

    private static ErrorMeasure MeasureOf(string name) => name switch
    {
        "all" => ErrorMeasure.All,
        "computed" => ErrorMeasure.Computed,
        _ => ErrorMeasure.Last,
    };

    private static string Words(ErrorMeasure measure) => measure switch
    {
        ErrorMeasure.All => "all rows",
        ErrorMeasure.Computed => "the rows that were computed",
        _ => "the last 128 rows",
    };

    private static double[] ParseErrors(string text) =>
    [
        .. text.Split(',', StringSplitOptions.TrimEntries).Select(part =>
            double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out double error) && error is > 0 and < 10
                ? error
                : throw new UsageException($"--equal-error takes errors such as 0.02,0.05; got '{text}'.")),
    ];

    private sealed record Request(
        IReadOnlyList<PipelineDescriptor> Pipelines, IReadOnlyList<KeyValuePair<string, string>> Settings, Sweep? Sweep,
        AttentionDevice Device, int Samples, ErrorMeasure Measure, IReadOnlyList<double> Errors);
}
