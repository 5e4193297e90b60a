using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Numerics.Tensors;
using AttnCompose.Models;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose run</c>: one attention call on the tensors of a safetensors file.</summary>
internal static class RunCommand
{
    private static readonly string[] Emittable = ["indices", "scores", "lse"];

    public static Command Create(CommandContext context)
    {
        Option<string> pipeline = CommonOptions.Pipeline();
        Option<string> device = CommonOptions.Device();
        Option<string[]> set = CommonOptions.Set();
        var input = new Option<string>("--input")
        {
            Description = "safetensors file with q, k and v: [batch, heads, length, dim], bf16, f16 or f32; and with the tensors that the "
                + "pipeline's stages take, by their names.",
            HelpName = "in.safetensors",
            Required = true,
        };
        var output = new Option<string>("--output")
        {
            Description = "File to write: out, float32 in q's shape, and what --emit asks for.",
            HelpName = "out.safetensors",
            Required = true,
        };
        var emit = new Option<string[]>("--emit")
        {
            Description = "Also write indices (with counts), scores or lse; comma-separated.",
            HelpName = "indices,scores,lse",
            Arity = ArgumentArity.OneOrMore,
        };
        var layer = new Option<string?>("--layer")
        {
            Description = "Which layer of a model the tensors are of, for pipelines that depend on depth, such as 3/32: from 0.",
            HelpName = "index/count",
        };
        var command = new Command("run", "Run a pipeline on the q, k and v of a file.") { pipeline, input, output, device, set, emit, layer };
        command.SetAction(parsed =>
        {
            PipelineDescriptor descriptor = context.Find(parsed.GetRequiredValue(pipeline));
            var settings = CommonOptions.ParseSettings(parsed.GetValue(set));
            IReadOnlySet<string> emitted = ParseEmit(parsed.GetValue(emit), descriptor);
            LayerPosition position = CommonOptions.ParseLayer(parsed.GetValue(layer));
            string outputPath = parsed.GetRequiredValue(output);
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            using IAttentionPipeline instance = CommonOptions.CreatePipeline(descriptor, opened, settings);
            OutputFile.Check(outputPath, parsed.GetRequiredValue(input));
            var run = new AttentionRun(instance, emitted, position);
            run.Execute(parsed.GetRequiredValue(input));
            run.Results.Save(outputPath);
            context.Output.WriteLine($"{descriptor.Name} on {opened}: {run.Summary}");
            context.Output.WriteLine($"wrote {string.Join(", ", run.Written)} to {outputPath}");
            return 0;
        });
        return command;
    }

    private static HashSet<string> ParseEmit(string[]? texts, PipelineDescriptor descriptor)
    {
        var names = new HashSet<string>();
        foreach (string name in (texts ?? []).SelectMany(text => text.Split(',', StringSplitOptions.TrimEntries)))
        {
            if (!Emittable.Contains(name))
                throw new UsageException($"--emit takes {string.Join(", ", Emittable)}; got '{name}'.");
            if (name != "lse" && descriptor.Plan.Stages.All(stage => stage.Kind != StageKind.TokenSelector))
                throw new UsageException($"{descriptor.Name} has no token selector, so there are no {name} to emit.");
            names.Add(name);
        }
        return names;
    }

    /// <summary>One call: reads the tensors, runs, and gathers what is to be written.</summary>
    private sealed class AttentionRun(IAttentionPipeline pipeline, IReadOnlySet<string> emitted, LayerPosition layer)
    {
        private readonly List<string> _written = [];

        public SafeTensorsWriter Results { get; } = new();

        public IReadOnlyList<string> Written => _written;

        public string Summary { get; private set; } = "";

        public void Execute(string path)
        {
            using SafeTensorsFile file = SafeTensorsFile.Open(path);
            SafeTensorInfo query = Info(file, "q");
            foreach (string name in (string[])["k", "v"])
            {
                if (Info(file, name).Type != query.Type)
                    throw new CommandException($"{path}: {Info(file, name)} must have the element type of {query}.");
            }
            switch (query.Type)
            {
                case SafeTensorType.BF16:
                    Execute<BFloat16>(file);
                    break;
                case SafeTensorType.F16:
                    Execute<Half>(file);
                    break;
                case SafeTensorType.F32:
                    Execute<float>(file);
                    break;
                default:
                    throw new CommandException($"{path}: {query} is not of type BF16, F16 or F32.");
            }
        }

        private void Execute<T>(SafeTensorsFile file) where T : unmanaged
        {
            int[] q = Shape(file, "q");
            int[] k = Shape(file, "k");
            int[] v = Shape(file, "v");
            (int batch, int heads, int queries) = (q[0], q[1], q[2]);
            var output = new float[file.Span<T>("q").Length];
            var lse = new float[emitted.Contains("lse") ? batch * heads * queries : 0];
            bool selects = emitted.Contains("indices") || emitted.Contains("scores");
            var selection = new TokenSelection { WantsScores = emitted.Contains("scores") };
            StageTensors? tensors = TensorsOf(file, new(batch, heads, k[1], queries, k[2], q[3]));
            long start = Stopwatch.GetTimestamp();
            pipeline.Run(new AttentionArguments<T, float>
            {
                Query = AttentionTensor.FromBhld(file.Span<T>("q"), batch, heads, queries, q[3]),
                Key = AttentionTensor.FromBhld(file.Span<T>("k"), k[0], k[1], k[2], k[3]),
                Value = AttentionTensor.FromBhld(file.Span<T>("v"), v[0], v[1], v[2], v[3]),
                Output = AttentionTensor.FromBhld(output.AsSpan(), batch, heads, queries, q[3]),
                LogSumExp = lse.Length > 0 ? AttentionTensor.LogSumExp(lse, batch, heads, queries) : default,
                Selection = selects ? selection : null,
                Layer = layer,
                Tensors = tensors,
            });
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            Add("out", [batch, heads, queries, q[3]], output);
            if (emitted.Contains("indices"))
                AddIndices(selection, batch, heads);
            if (emitted.Contains("scores"))
                AddScores(selection, batch, heads);
            if (emitted.Contains("lse"))
                Add("lse", [batch, heads, queries], lse);
            string kept = selects && k[2] > 0
                ? string.Create(CultureInfo.InvariantCulture, $", at most {selection.LargestCount} of {k[2]} tokens kept a head")
                : "";
            Summary = string.Create(CultureInfo.InvariantCulture,
                $"{Info(file, "q")}, {Info(file, "k")}{kept}, {seconds:0.000} s");
        }

        // What the pipeline's stages take beside q, k and v.
        private StageTensors? TensorsOf(SafeTensorsFile file, ProblemShape shape)
        {
            IReadOnlyList<TensorPlan> taken = pipeline.PipelinePlan.Tensors;
            if (taken.Count == 0)
                return null;
            var tensors = new StageTensors();
            foreach (TensorPlan tensor in taken)
            {
                SafeTensorType type = tensor.ElementType == "int" ? SafeTensorType.I32 : SafeTensorType.F32;
                nint[] lengths = tensor.LengthsFor(in shape);
                SafeTensorInfo? info = file.Header.Find(tensor.Name);
                if (info is null || info.Type != type || !info.Shape.SequenceEqual(lengths.Select(length => (long)length)))
                {
                    throw new CommandException(
                        $"{file.Path}: {pipeline.PipelinePlan.Name} takes the tensor {tensor.Name}, {type} [{string.Join(", ", lengths)}]; "
                        + $"there is {(info is null ? "none" : $"{info}")}.");
                }
                if (tensor.ElementType == "int")
                    tensors.Set(tensor.Name, Tensor.Create(file.Span<int>(tensor.Name).ToArray(), lengths));
                else
                    tensors.Set(tensor.Name, Tensor.Create(file.Span<float>(tensor.Name).ToArray(), lengths));
            }
            return tensors;
        }

        private void AddIndices(TokenSelection selection, int batch, int heads)
        {
            int width = selection.LargestCount;
            var indices = new int[checked(batch * heads * width)];
            var counts = new int[batch * heads];
            indices.AsSpan().Fill(-1);
            for (int row = 0; row < counts.Length; row++)
            {
                ReadOnlySpan<int> positions = selection.Positions(row / heads, row % heads);
                positions.CopyTo(indices.AsSpan(row * width));
                counts[row] = positions.Length;
            }
            Add("indices", [batch, heads, width], indices);
            Add("counts", [batch, heads], counts);
        }

        private void AddScores(TokenSelection selection, int batch, int heads)
        {
            int width = selection.ScoreLength;
            var scores = new float[checked(batch * heads * width)];
            for (int row = 0; width > 0 && row < batch * heads; row++)
                selection.Scores(row / heads, row % heads).CopyTo(scores.AsSpan(row * width));
            Add("scores", [batch, heads, width], scores);
        }

        private void Add<T>(string name, ReadOnlySpan<long> shape, T[] data) where T : unmanaged
        {
            Results.Add<T>(name, shape, data);
            _written.Add(name);
        }

        private static SafeTensorInfo Info(SafeTensorsFile file, string name) =>
            file.Header.Find(name) ?? throw new CommandException(
                $"{file.Path}: there is no tensor '{name}'; q, k and v are needed. "
                + $"There are: {string.Join(", ", file.Header.Tensors.Take(8).Select(tensor => tensor.Name))}.");

        private static int[] Shape(SafeTensorsFile file, string name)
        {
            SafeTensorInfo info = Info(file, name);
            if (info.Shape.Count != 4)
                throw new CommandException($"{file.Path}: {info} must be [batch, heads, length, dim].");
            if (info.ElementCount > Array.MaxLength || info.Shape.Any(size => size > int.MaxValue))
                throw new CommandException($"{file.Path}: {info} is too large for one call; at most {Array.MaxLength} elements are taken.");
            return [.. info.Shape.Select(size => (int)size)];
        }
    }
}
