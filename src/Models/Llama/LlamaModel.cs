using AttnCompose.Cpu;

namespace AttnCompose.Models;

/// <summary>
/// The weights of a Llama decoder, in float32, packed for the CPU. Sequences are run by a <see cref="LlamaSession"/>; the
/// attention of each layer is any <see cref="IAttentionPipeline"/>.
/// </summary>
public sealed class LlamaModel : IDisposable
{
    private readonly List<IDisposable> _owned;

    private LlamaModel(LlamaConfig config, CpuDevice device, FloatBuffer embedding, float[] finalNorm, PackedMatrix output,
        LlamaLayer[] layers, List<IDisposable> owned)
    {
        (Config, Device, _owned) = (config, device, owned);
        (Embedding, FinalNorm, Output, Layers) = (embedding, finalNorm, output, layers);
        Rotary = new RotaryEmbedding(config.HeadDim, config.RopeTheta, config.RopeScaling);
    }

    /// <summary>The shape of the model.</summary>
    public LlamaConfig Config { get; }

    /// <summary>The device whose workers compute everything but attention.</summary>
    public CpuDevice Device { get; }

    internal FloatBuffer Embedding { get; }

    internal float[] FinalNorm { get; }

    internal PackedMatrix Output { get; }

    internal LlamaLayer[] Layers { get; }

    internal RotaryEmbedding Rotary { get; }

    /// <summary>Loads <c>config.json</c> and <c>model.safetensors</c> of a directory.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="device">The device whose workers compute everything but attention; not owned.</param>
    /// <exception cref="ModelFormatException">
    /// The configuration is not supported, or a weight is missing or of another shape.
    /// </exception>
    /// <exception cref="SafeTensorsException">The weights cannot be read.</exception>
    public static LlamaModel Load(string directory, CpuDevice device)
    {
        LlamaConfig config = LlamaConfig.Load(Path.Combine(directory, "config.json"));
        using var file = SafeTensorsFile.Open(Path.Combine(directory, "model.safetensors"));
        return Load(config, file, device);
    }

    /// <summary>Loads weights with the names that Hugging Face gives them, of type F32, F16 or BF16.</summary>
    /// <exception cref="ModelFormatException">A weight is missing, of another shape or not expected.</exception>
    /// <exception cref="SafeTensorsException">A weight is of another type.</exception>
    public static LlamaModel Load(LlamaConfig config, SafeTensorsFile weights, CpuDevice device)
    {
        var owned = new List<IDisposable>();
        try
        {
            var source = new LlamaWeightSource(weights, owned);
            int hidden = config.HiddenSize, inner = config.IntermediateSize;
            int query = config.QueryHeads * config.HeadDim, keyValue = config.KeyValueHeads * config.HeadDim;
            FloatBuffer embedding = source.Rows("model.embed_tokens.weight", config.VocabularySize, hidden);
            var layers = new LlamaLayer[config.Layers];
            for (int i = 0; i < layers.Length; i++)
            {
                string at = $"model.layers.{i}.";
                layers[i] = new LlamaLayer(
                    source.Vector(at + "input_layernorm.weight", hidden),
                    source.Matrix(at + "self_attn.q_proj.weight", query, hidden),
                    source.Matrix(at + "self_attn.k_proj.weight", keyValue, hidden),
                    source.Matrix(at + "self_attn.v_proj.weight", keyValue, hidden),
                    source.Matrix(at + "self_attn.o_proj.weight", hidden, query),
                    source.Vector(at + "post_attention_layernorm.weight", hidden),
                    source.Matrix(at + "mlp.gate_proj.weight", inner, hidden),
                    source.Matrix(at + "mlp.up_proj.weight", inner, hidden),
                    source.Matrix(at + "mlp.down_proj.weight", hidden, inner));
            }
            float[] finalNorm = source.Vector("model.norm.weight", hidden);
            PackedMatrix output = source.Matrix(
                config.TiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight", config.VocabularySize, hidden);
            source.CheckAllUsed(config.TiedEmbeddings);
            return new LlamaModel(config, device, embedding, finalNorm, output, layers, owned);
        }
        catch
        {
            owned.ForEach(buffer => buffer.Dispose());
            throw;
        }
    }

    /// <summary>Frees the weights. Sessions of this model cannot run any more.</summary>
    public void Dispose() => _owned.ForEach(buffer => buffer.Dispose());
}

/// <summary>The weights of one decoder layer.</summary>
internal sealed record LlamaLayer(
    float[] AttentionNorm, PackedMatrix Query, PackedMatrix Key, PackedMatrix Value, PackedMatrix AttentionOutput,
    float[] FeedForwardNorm, PackedMatrix Gate, PackedMatrix Up, PackedMatrix Down);

/// <summary>Takes weights out of a file by name and checks their shapes; notes what was taken.</summary>
internal sealed class LlamaWeightSource(SafeTensorsFile file, List<IDisposable> owned)
{
    private readonly HashSet<string> _used = [];

    public float[] Vector(string name, int length)
    {
        Check(name, length);
        var result = new float[length];
        file.CopyAsFloat(name, 0, result);
        return result;
    }

    public FloatBuffer Rows(string name, int rows, int columns)
    {
        Check(name, rows, columns);
        var result = new FloatBuffer((long)rows * columns);
        owned.Add(result);
        for (int row = 0; row < rows; row++)
            file.CopyAsFloat(name, (long)row * columns, result.Span((long)row * columns, columns));
        return result;
    }

    public PackedMatrix Matrix(string name, int outputs, int inputs)
    {
        Check(name, outputs, inputs);
        var result = new PackedMatrix(outputs, inputs, (row, to) => file.CopyAsFloat(name, (long)row * inputs, to));
        owned.Add(result);
        return result;
    }

    public void CheckAllUsed(bool tied)
    {
        foreach (SafeTensorInfo tensor in file.Header.Tensors)
        {
            // Two that old files carry without a meaning of their own: tabulated frequencies, and a copy of a tied matrix.
            if (_used.Contains(tensor.Name) || tensor.Name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal)
                || tied && tensor.Name == "lm_head.weight")
            {
                continue;
            }
            throw new ModelFormatException(
                $"{file.Path}: tensor {tensor} has no place in a Llama decoder of this configuration.");
        }
    }

    private void Check(string name, params ReadOnlySpan<long> shape)
    {
        SafeTensorInfo info = file.Header.Find(name)
            ?? throw new ModelFormatException($"{file.Path}: tensor '{name}' is missing.");
        if (!info.Shape.SequenceEqual(shape.ToArray()))
        {
            throw new ModelFormatException(
                $"{file.Path}: {info} must have shape [{string.Join(", ", shape.ToArray())}] by config.json.");
        }
        _used.Add(name);
    }
}
