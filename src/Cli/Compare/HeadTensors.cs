using AttnCompose.Models;

namespace AttnCompose.Cli.Compare;

/// <summary>One sequence of query, key and value on the host, float32, and what they are.</summary>
/// <param name="Name">What a table calls them.</param>
/// <param name="Shape">Sizes; as many queries as keys.</param>
/// <param name="Query">[query heads, length, head dim].</param>
/// <param name="Key">[key/value heads, length, head dim].</param>
/// <param name="Value">[key/value heads, length, head dim].</param>
internal sealed record HeadTensors(string Name, ProblemShape Shape, float[] Query, float[] Key, float[] Value)
{
    /// <summary>Where they come from in a model; of none, they are as if of a model of one layer.</summary>
    public LayerPosition Layer { get; init; } = new(0, 1);

    /// <summary>Reads <c>q</c>, <c>k</c> and <c>v</c>, [1, heads, length, dim], of a safetensors file.</summary>
    /// <exception cref="CommandException">A tensor is missing or has another form.</exception>
    public static HeadTensors Read(string path)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        (SafeTensorInfo q, SafeTensorInfo k, SafeTensorInfo v) = (Info("q"), Info("k"), Info("v"));
        if (q.Shape[2] != k.Shape[2])
            throw new CommandException($"{path}: {q} and {k} must be equally long.");
        var shape = new ProblemShape(1, (int)q.Shape[1], (int)k.Shape[1], (int)q.Shape[2], (int)k.Shape[2], (int)q.Shape[3]);
        return new(Path.GetFileNameWithoutExtension(path), shape, Floats(q), Floats(k), Floats(v));

        SafeTensorInfo Info(string name)
        {
            SafeTensorInfo info = file.Header.Find(name)
                ?? throw new CommandException($"{path}: there is no tensor '{name}'; q, k and v are needed.");
            return info.Shape.Count == 4 && info.Shape[0] == 1 && info.ElementCount <= Array.MaxLength
                ? info
                : throw new CommandException($"{path}: {info} must be [1, heads, length, dim].");
        }

        float[] Floats(SafeTensorInfo info)
        {
            var values = new float[info.ElementCount];
            switch (info.Type)
            {
                case SafeTensorType.BF16:
                    Cpu.ElementConvert.ToFloat(file.Span<BFloat16>(info.Name), values);
                    break;
                case SafeTensorType.F16:
                    Cpu.ElementConvert.ToFloat(file.Span<Half>(info.Name), values);
                    break;
                case SafeTensorType.F32:
                    file.Span<float>(info.Name).CopyTo(values);
                    break;
                default:
                    throw new CommandException($"{path}: {info} is not of type BF16, F16 or F32.");
            }
            return values;
        }
    }

    /// <summary>What the attention of some layers of a model is given while it reads a prompt.</summary>
    /// <param name="folder">Folder of the model.</param>
    /// <param name="prompts">File of prompts; the first one is read.</param>
    /// <param name="layers">The layers.</param>
    public static IReadOnlyList<HeadTensors> Capture(string folder, string prompts, IReadOnlyList<int> layers)
    {
        using AttentionDevice device = AttentionDevice.Cpu();
        using LlamaModel model = LlamaModel.Load(folder, (Cpu.CpuDevice)device);
        if (layers.FirstOrDefault(layer => layer >= model.Config.Layers, -1) is var beyond and >= 0)
            throw new UsageException($"--layers names layer {beyond}; the model has layers 0 to {model.Config.Layers - 1}.");
        WordLevelTokenizer tokenizer = WordLevelTokenizer.Load(Path.Combine(folder, "tokenizer.json"));
        int[] tokens = tokenizer.Encode(EvaluationPrompt.Read(prompts, 1)[0].Prompt);
        using var dense = Pipelines.DenseAttention.Create(device);
        using var session = new LlamaSession(model, tokens.Length);
        var captured = new List<HeadTensors>();
        session.Prefill(tokens, layer => layers.Contains(layer)
            ? new CapturingPipeline(
                dense, tensors => captured.Add(
                    tensors with { Name = $"layer {layer}, {tokens.Length} tokens", Layer = new(layer, model.Config.Layers) }))
            : dense);
        return captured;
    }

    /// <summary>Hands on a call and keeps its tensors.</summary>
    private sealed class CapturingPipeline(IAttentionPipeline inner, Action<HeadTensors> captured) : IAttentionPipeline
    {
        public AttentionDevice Device => inner.Device;

        public PipelinePlan PipelinePlan => inner.PipelinePlan;

        public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
            where T : unmanaged
            where TOut : unmanaged
        {
            inner.Run(in arguments);
            ReadOnlySpan<nint> q = arguments.Query.Lengths, k = arguments.Key.Lengths;
            captured(new(
                "", new ProblemShape(1, (int)q[1], (int)k[1], (int)q[2], (int)k[2], (int)q[3]),
                Floats(arguments.Query), Floats(arguments.Key), Floats(arguments.Value)));
        }

        public void Dispose()
        {
        }

        private static float[] Floats<T>(System.Numerics.Tensors.ReadOnlyTensorSpan<T> tensor)
            where T : unmanaged
        {
            var elements = new T[tensor.FlattenedLength];
            tensor.FlattenTo(elements);
            var values = new float[elements.Length];
            Cpu.ElementConvert.ToFloat<T>(elements, values);
            return values;
        }
    }
}
