using System.CommandLine;
using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose warmup</c>: compiles kernels into the cache before somebody waits for them.</summary>
internal static class WarmupCommand
{
    public static Command Create(CommandContext context)
    {
        Option<string> device = CommonOptions.Device();
        device.DefaultValueFactory = _ => "cuda:0";
        var names = new Option<string[]>("--pipeline")
        {
            Description = "A pipeline; may be given several times. All of them where none is given.",
            HelpName = "name",
            Arity = ArgumentArity.OneOrMore,
        };
        var headDims = new Option<string>("--head-dim")
        {
            Description = "Head dims to be ready for.",
            HelpName = "64,128",
            DefaultValueFactory = _ => "64,128",
        };
        var elements = new Option<string>("--element")
        {
            Description = "Element types of query, key and value: bf16, f16.",
            HelpName = "bf16,f16",
            DefaultValueFactory = _ => "bf16",
        };
        var floatOutput = new Option<bool>("--float-output") { Description = "Outputs in float32 too." };
        var command = new Command("warmup", "Compile kernels into the cache ahead, in several processes.")
        {
            device, names, headDims, elements, floatOutput,
        };
        command.SetAction(parsed =>
        {
            KernelVariant[] variants = Variants(
                parsed.GetValue(headDims)!, parsed.GetValue(elements)!, parsed.GetValue(floatOutput));
            PipelineDescriptor[] pipelines =
                parsed.GetValue(names) is { Length: > 0 } given ? [.. given.Select(context.Find)] : [.. context.Pipelines];
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            if (opened is not CudaDevice)
                throw new UsageException("Only on a CUDA device are kernels compiled; --device takes cuda:N here.");
            using var cancellation = new CancellationTokenSource();
            ConsoleCancelEventHandler cancel = (_, e) =>
            {
                e.Cancel = true;
                cancellation.Cancel();
            };
            Console.CancelKeyPress += cancel;
            try
            {
                foreach (PipelineDescriptor pipeline in pipelines)
                {
                    using IAttentionPipeline instance = CommonOptions.CreatePipeline(pipeline, opened, []);
                    ((ICudaAttentionPipeline)instance).Warmup(variants, new Lines(context.Output), cancellation.Token);
                }
            }
            finally
            {
                Console.CancelKeyPress -= cancel;
            }
            KernelCache cache = KernelCache.Default;
            if ((cache.Refusal ?? cache.WriteFailure) is { } problem)
                throw new CommandException(
                    $"The kernels are not kept: {cache.Directory ?? "the cache folder"} is not used, because {problem}.");
            return 0;
        });
        return command;
    }

    internal static KernelVariant[] Variants(string headDims, string elements, bool floatOutput) =>
    [
        .. from headDim in headDims.Split(',', StringSplitOptions.TrimEntries).Select(ParseHeadDim)
           from element in elements.Split(',', StringSplitOptions.TrimEntries).Select(ParseElement)
           from output in floatOutput ? [element, ElementType.Float32] : new[] { element }
           select new KernelVariant(headDim, element, output),
    ];

    private static int ParseHeadDim(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int headDim)
            && AttentionLoops.HeadDims.Contains(headDim)
            ? headDim
            : throw new UsageException($"--head-dim takes multiples of 8 in [8, 256], such as 64,128; got '{text}'.");

    private static ElementType ParseElement(string text) => text switch
    {
        "bf16" => ElementType.BFloat16,
        "f16" => ElementType.Float16,
        _ => throw new UsageException($"--element takes bf16 and f16; got '{text}'."),
    };

    /// <summary>A line for each variant, as it gets ready.</summary>
    private sealed class Lines(TextWriter output) : IProgress<WarmupProgress>
    {
        public void Report(WarmupProgress value)
        {
            string how = value.IsCompiled ? "compiled" : "was kept";
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{value.Pipeline}, {value.Variant}: {how} ({value.Done} of {value.Total}, {value.Elapsed.TotalSeconds:0.0} s)"));
        }
    }
}
