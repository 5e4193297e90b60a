using System.CommandLine;
using System.Text;
using AttnCompose.Cli.Bench;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose bench</c>: times of the pipelines, and of peers that take turns with them.</summary>
internal static class BenchCommand
{
    public static Command Create(CommandContext context)
    {
        var pipeline = new Option<string?>("--pipeline")
        {
            Description = "Pipelines, comma-separated; without it, those of the mask. full-attention is one for the full mask.",
            HelpName = "names",
        };
        var lengths = new Option<string>("--lengths")
        {
            Description = "Queries and keys of each problem; K and M are 1024 and 1024 * 1024.",
            HelpName = "8K,32K,1M",
            DefaultValueFactory = _ => "4K,16K",
        };
        var keep = new Option<string?>("--keep")
        {
            Description = "Shares of the tokens that token-sparse pipelines are to keep; without it, their parameters decide.",
            HelpName = "0.25,0.5",
        };
        var mask = new Option<string?>("--mask")
        {
            Description = "causal or full, where --pipeline does not say it.",
            HelpName = "causal|full",
        };
        var heads = new Option<int>("--heads") { Description = "Query heads.", DefaultValueFactory = _ => 32 };
        var keyValueHeads = new Option<int>("--kv-heads") { Description = "Key/value heads.", DefaultValueFactory = _ => 8 };
        var headDim = new Option<int>("--head-dim") { Description = "Head dim.", DefaultValueFactory = _ => 128 };
        var dtype = new Option<string>("--dtype")
        {
            Description = "Element type: bf16, fp16, or fp32 on the CPU.",
            HelpName = "bf16|fp16|fp32",
            DefaultValueFactory = _ => "bf16",
        };
        var samples = new Option<int>("--samples") { Description = "Samples a row, at least 7.", DefaultValueFactory = _ => 9 };
        var graph = new Option<string>("--graph")
        {
            Description = $"Time calls as CUDA graphs, peers' too: always, never, or up to {BenchRequest.LongestGraph} tokens.",
            HelpName = "auto|always|never",
            DefaultValueFactory = _ => "auto",
        };
        var deviation = new Option<double>("--key-deviation")
        {
            Description = "Standard deviation of the keys: 0 makes all scores equal, 4 makes few tokens heavy.",
            DefaultValueFactory = _ => 1,
        };
        var rest = new Option<int>("--rest")
        {
            Description = "Idle milliseconds before each sample: full clocks instead of those of a chip at its power limit.",
            HelpName = "ms",
            DefaultValueFactory = _ => 0,
        };
        var gather = new Option<string>("--gather")
        {
            Description = "How selected keys reach the attention loop: as the device is tuned, gathered ahead, or row by row.",
            HelpName = "auto|ahead|loop",
            DefaultValueFactory = _ => "auto",
        };
        var stages = new Option<bool>("--stages") { Description = "Also time each kernel apart, its time alone." };
        var host = new Option<bool>("--host") { Description = "Also time what a call costs the host." };
        var compile = new Option<bool>("--compile")
        {
            Description = "Also time compiling the kernels, and loading them from the cache.",
        };
        var peersCommand = new Option<string?>("--peers-command")
        {
            Description = "Starts peers that take turns with the pipelines, sample by sample, on the same device.",
            HelpName = "\"python3 benchmarks/peers.py --serve\"",
        };
        var peers = new Option<string?>("--peers")
        {
            Description = "A report to compare with: what bench or peers.py wrote by --json.",
            HelpName = "peers.json",
        };
        var json = new Option<string?>("--json") { Description = "Also write all samples to a file.", HelpName = "out.json" };
        var csv = new Option<string?>("--csv") { Description = "Also write a table to a file.", HelpName = "out.csv" };
        var svg = new Option<string?>("--svg") { Description = "Also draw the times to a file.", HelpName = "out.svg" };
        Option<string> device = CommonOptions.Device();
        Option<string[]> set = CommonOptions.Set();
        var command = new Command("bench", "Time pipelines, beside peers and what the machine can do at most.")
        {
            pipeline, lengths, keep, mask, heads, keyValueHeads, headDim, dtype, samples, graph, rest, deviation, gather, stages,
            host, compile, peersCommand, peers, json, csv, svg, device, set,
        };
        command.SetAction(parsed =>
        {
            AttentionMask? masked = parsed.GetValue(mask) is { } text ? BenchRequest.ParseMask(text) : null;
            var request = new BenchRequest
            {
                Pipelines = Choose(context, parsed.GetValue(pipeline), masked),
                Lengths = BenchRequest.ParseLengths(parsed.GetValue(lengths)!),
                Keeps = parsed.GetValue(keep) is { } keeps ? BenchRequest.ParseKeeps(keeps) : [],
                Heads = parsed.GetValue(heads),
                KeyValueHeads = parsed.GetValue(keyValueHeads),
                HeadDim = parsed.GetValue(headDim),
                Element = BenchRequest.ParseElement(parsed.GetValue(dtype)!),
                Samples = parsed.GetValue(samples),
                Graph = BenchRequest.ParseGraph(parsed.GetValue(graph)!),
                KeyDeviation = parsed.GetValue(deviation),
                RestMilliseconds = parsed.GetValue(rest),
                Settings = CommonOptions.ParseSettings(parsed.GetValue(set)),
                Gather = BenchRequest.ParseGather(parsed.GetValue(gather)!),
                Stages = parsed.GetValue(stages),
                Host = parsed.GetValue(host),
                Compile = parsed.GetValue(compile),
                PeersCommand = parsed.GetValue(peersCommand),
                PeersFile = parsed.GetValue(peers),
            };
            request.Check();
            var outputs = new Outputs(parsed.GetValue(json), parsed.GetValue(csv), parsed.GetValue(svg));
            outputs.Check(request.PeersFile);
            BenchReport? others = request.PeersFile is { } file ? BenchJson.Read(file) : null;
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            IEnumerable<string> words = parsed.Tokens.Select(token => token.Value);
            string line = $"attncompose {string.Join(' ', words.Select(word => word.Contains(' ') ? $"\"{word}\"" : word))}";
            return Run(context, request, opened, line, outputs, others);
        });
        return command;
    }

    /// <summary>Measures, prints and writes.</summary>
    /// <returns>The exit code: a failure where one of our rows has no time.</returns>
    public static int Run(
        CommandContext context, BenchRequest request, AttentionDevice device, string line, Outputs outputs, BenchReport? others)
    {
        BenchReport? report = null;
        using (var run = new BenchRun(request, device)
        {
            Measured = row =>
            {
                if (context.Verbose)
                    context.Error.WriteLine(BenchTables.Line(row));
            },
        })
            BenchProgress.Track(context, run.Problems, progress => report = run.Execute(progress, line));
        BenchTables.Write(context.Output, report!, others);
        outputs.Write(context, report!);
        return report!.Rows.Any(row => row.IsOwn && !row.IsMeasured) ? CommandLine.Failure : 0;
    }

    private static PipelineDescriptor[] Choose(CommandContext context, string? names, AttentionMask? mask)
    {
        PipelineDescriptor[] all = [.. context.Pipelines, FullAttention.Descriptor];
        if (names is null)
            return [.. all.Where(pipeline => pipeline.Plan.Mask == (mask ?? AttentionMask.Causal))];
        PipelineDescriptor[] chosen =
        [
            .. names.Split(',', StringSplitOptions.TrimEntries)
                .Select(name => name == FullAttention.Descriptor.Name ? FullAttention.Descriptor : context.Find(name)),
        ];
        PipelineDescriptor? other = chosen.FirstOrDefault(pipeline => mask is not null && pipeline.Plan.Mask != mask);
        return other is null ? chosen : throw new UsageException(
            $"{other.Name} is declared with the mask {BenchCase.MaskName(other.Plan.Mask)};"
            + $" --mask says {BenchCase.MaskName(mask!.Value)}.");
    }

    /// <summary>The files that are written.</summary>
    internal sealed record Outputs(string? Json, string? Csv, string? Svg)
    {
        /// <summary>Fails before anything is measured where a file could not be written.</summary>
        public void Check(string? input)
        {
            foreach (string path in Paths)
                OutputFile.Check(path, input);
            if (Paths.Select(Path.GetFullPath).Distinct(StringComparer.Ordinal).Count() < Paths.Count())
                throw new UsageException("--json, --csv and --svg name the same file.");
        }

        public void Write(CommandContext context, BenchReport report)
        {
            if (Json is not null)
                Save(Json, stream => BenchJson.Write(stream, report));
            if (Csv is not null)
                Save(Csv, stream => stream.Write(Encoding.UTF8.GetBytes(BenchJson.ToCsv(report))));
            if (Svg is not null && SvgPlots.Draw(report) is { } drawing)
                Save(Svg, stream => stream.Write(Encoding.UTF8.GetBytes(drawing)));
            else if (Svg is not null)
                context.Output.WriteLine($"{Svg} is not written: a plot needs two lengths or two shares kept");

            void Save(string path, Action<Stream> write)
            {
                try
                {
                    using FileStream stream = File.Create(path);
                    write(stream);
                }
                catch (Exception error) when (error is IOException or UnauthorizedAccessException)
                {
                    throw new CommandException($"{path}: cannot be written: {CommandLine.OneLine(error.Message)}");
                }
                context.Output.WriteLine($"wrote {path}");
            }
        }

        private IEnumerable<string> Paths => new[] { Json, Csv, Svg }.OfType<string>();
    }
}
