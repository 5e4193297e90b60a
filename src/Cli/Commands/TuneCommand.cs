using System.CommandLine;
using System.Globalization;
using AttnCompose.Cli.Bench;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose tune</c>: measures the choices of <see cref="CudaTuning"/> on a GPU and stores the best.</summary>
internal static class TuneCommand
{
    public static Command Create(CommandContext context)
    {
        Option<string> device = CommonOptions.Device();
        device.DefaultValueFactory = _ => "cuda:0";
        var headDims = new Option<string>("--head-dim")
        {
            Description = "Head dims to tune for.",
            HelpName = "64,128",
            DefaultValueFactory = _ => "64,128",
        };
        var dtypes = new Option<string>("--dtype")
        {
            Description = "Element types to tune for.",
            HelpName = "bf16,fp16",
            DefaultValueFactory = _ => "bf16",
        };
        var heads = new Option<int>("--heads") { Description = "Query heads.", DefaultValueFactory = _ => 32 };
        var keyValueHeads = new Option<int>("--kv-heads") { Description = "Key/value heads.", DefaultValueFactory = _ => 8 };
        var samples = new Option<int>("--samples") { Description = "Samples a choice, at least 7.", DefaultValueFactory = _ => 9 };
        var dryRun = new Option<bool>("--dry-run") { Description = "Measure and print; store nothing." };
        var json = new Option<string?>("--json") { Description = "Also write choices and times to a file.", HelpName = "out.json" };
        var remove = new Option<bool>("--remove") { Description = "Measure nothing; forget what is stored for this device." };
        var command = new Command("tune", "Measure the runtime's choices on a GPU, and store the best for it.")
        {
            device, headDims, dtypes, heads, keyValueHeads, samples, dryRun, json, remove,
        };
        command.SetAction(parsed =>
        {
            (int HeadDim, ElementType Element)[] classes = Classes(parsed.GetValue(headDims)!, parsed.GetValue(dtypes)!);
            int count = parsed.GetValue(samples);
            if (count < BenchRequest.FewestSamples)
                throw new UsageException($"--samples must be at least {BenchRequest.FewestSamples}; got {count}.");
            if (parsed.GetValue(json) is { } path)
                OutputFile.Check(path, null);
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            if (opened is not CudaDevice cuda)
                throw new UsageException("Only a CUDA device is tuned; --device takes cuda:N here.");
            if (parsed.GetValue(remove))
            {
                Remove(context, cuda, KernelCache.Default);
                return;
            }
            var tune = new TuneRun(cuda, parsed.GetValue(heads), parsed.GetValue(keyValueHeads), count);
            var results = new List<TuneResult>();
            foreach (var (dim, element) in classes)
            {
                results.Add(tune.Measure(dim, element));
                results[^1].Write(context.Output);
            }
            string? file = parsed.GetValue(dryRun) ? null : Store(cuda, KernelCache.Default, results);
            context.Output.WriteLine(file is null ? "nothing is stored" : $"stored in {file}");
            if (parsed.GetValue(json) is { } wanted)
                File.WriteAllBytes(wanted, TuneResult.Json(TuningFile.DeviceKey(cuda), file, results));
        });
        return command;
    }

    private static string Store(CudaDevice device, KernelCache cache, IReadOnlyList<TuneResult> results)
    {
        try
        {
            return TuningFile.Write(device, cache, [.. results.SelectMany(result => result.Tunings)]);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"The choices are not stored: {CommandLine.OneLine(error.Message)}");
        }
    }

    private static void Remove(CommandContext context, CudaDevice device, KernelCache cache)
    {
        string? path = TuningFile.PathFor(device, cache);
        bool exists = path is not null && File.Exists(path);
        if (exists)
            File.Delete(path!);
        context.Output.WriteLine(exists ? $"removed {path}" : "nothing was stored");
    }

    private static (int HeadDim, ElementType Element)[] Classes(string headDims, string dtypes) =>
    [
        .. from dim in headDims.Split(',', StringSplitOptions.TrimEntries)
           from dtype in dtypes.Split(',', StringSplitOptions.TrimEntries)
           select (HeadDim(dim), Element(dtype)),
    ];

    private static int HeadDim(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int dim) && dim is >= 8 and <= 256 && dim % 8 == 0
            ? dim
            : throw new UsageException($"--head-dim takes multiples of 8 up to 256, such as 64,128; got '{text}'.");

    private static ElementType Element(string text) => BenchRequest.ParseElement(text) is var element and not ElementType.Float32
        ? element
        : throw new UsageException($"--dtype takes bf16 and fp16 here; got '{text}'.");
}
