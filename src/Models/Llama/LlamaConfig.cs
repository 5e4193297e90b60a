using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>
/// The shape of a Llama decoder, from <c>config.json</c> as Hugging Face writes it (the older form with <c>rope_theta</c> and
/// <c>rope_scaling</c>, and the newer one with <c>rope_parameters</c>). What would change the computation and is not
/// supported is an error, not ignored.
/// </summary>
public sealed record LlamaConfig
{
    /// <summary>Tokens of the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Decoder layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    public required int QueryHeads { get; init; }

    /// <summary>Key/value heads, a divisor of the query heads.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Elements of a head, even.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width of the feed-forward layer.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>What is added to the mean square before its root is taken.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10_000;

    /// <summary>Llama-3 scaling of the rotary frequencies, or null.</summary>
    public Llama3RopeScaling? RopeScaling { get; init; }

    /// <summary>Whether the output matrix is the embedding.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>Tokens that end an answer; may be empty.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    /// <summary>The length that the model was made for.</summary>
    public int MaxPositions { get; init; } = 2048;

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">The file is malformed, or asks for something that is not supported.</exception>
    public static LlamaConfig Load(string path) => JsonFile.Read(path, FromJson);

    /// <summary>Parses the text of a <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">The text is malformed, or asks for something that is not supported.</exception>
    public static LlamaConfig Parse(ReadOnlyMemory<byte> json) => JsonFile.Parse(json, "config.json", FromJson);

    private static LlamaConfig FromJson(JsonElement root)
    {
        Demand(root, "model_type", "llama", required: true);
        Demand(root, "hidden_act", "silu", required: false);
        foreach (string flag in (ReadOnlySpan<string>)["attention_bias", "mlp_bias"])
        {
            if (root.Flag(flag))
                throw new ModelFormatException($"'{flag}' is true; only false is supported.");
        }
        foreach (string absent in (ReadOnlySpan<string>)["quantization_config", "sliding_window"])
        {
            if (root.Member(absent) is { } value)
                throw new ModelFormatException($"'{absent}' is {JsonFile.Short(value)}; it is not supported.");
        }

        int heads = Required(root, "num_attention_heads");
        int hidden = Required(root, "hidden_size");
        int keyValueHeads = root.Integer("num_key_value_heads", 1) ?? heads;
        if (heads % keyValueHeads != 0)
        {
            throw new ModelFormatException(
                $"'num_attention_heads' is {heads}, not a multiple of 'num_key_value_heads', {keyValueHeads}.");
        }
        int? headDim = root.Integer("head_dim", 2);
        if (headDim is null && hidden % heads != 0)
        {
            throw new ModelFormatException(
                $"'hidden_size' is {hidden}, not a multiple of 'num_attention_heads', {heads}, and there is no 'head_dim'.");
        }
        int dim = headDim ?? hidden / heads;
        if (dim % 2 != 0)
            throw new ModelFormatException($"The head dim is {dim}; rotary embedding needs an even one.");
        // The newer form is used where both are there, as the library that writes these files does.
        JsonElement? rope = root.Member("rope_parameters") ?? root.Member("rope_scaling");
        var config = new LlamaConfig
        {
            VocabularySize = Required(root, "vocab_size"),
            HiddenSize = hidden,
            Layers = Required(root, "num_hidden_layers"),
            QueryHeads = heads,
            KeyValueHeads = keyValueHeads,
            HeadDim = dim,
            IntermediateSize = Required(root, "intermediate_size"),
            NormEpsilon = root.PositiveNumber("rms_norm_eps") ?? 1e-6,
            RopeTheta = rope?.PositiveNumber("rope_theta") ?? root.PositiveNumber("rope_theta") ?? 10_000,
            RopeScaling = rope is { } parameters ? ReadScaling(parameters) : null,
            TiedEmbeddings = root.Flag("tie_word_embeddings"),
            EndTokens = ReadEndTokens(root),
            MaxPositions = root.Integer("max_position_embeddings", 1) ?? 2048,
        };
        if (PartialRotaryFactor(root, rope) is { } factor && factor != 1)
            throw new ModelFormatException($"'partial_rotary_factor' is {factor}; only 1 is supported.");
        long widest = new[] { (long)heads * dim, hidden, config.VocabularySize, config.IntermediateSize }.Max();
        if (widest > 1 << 24 || config.Layers > 4096)
        {
            throw new ModelFormatException(
                $"A width of {widest} in {config.Layers} layers is beyond what is supported (2^24 and 4096).");
        }
        return config;
    }

    private static int Required(JsonElement root, string name) =>
        root.Integer(name, 1) ?? throw new ModelFormatException($"'{name}' is missing.");

    private static void Demand(JsonElement root, string name, string supported, bool required)
    {
        string? actual = root.Text(name);
        if (actual != supported && (actual is not null || required))
            throw new ModelFormatException($"'{name}' is {actual ?? "missing"}; only {supported} is supported.");
    }

    private static double? PartialRotaryFactor(JsonElement root, JsonElement? rope) =>
        rope?.PositiveNumber("partial_rotary_factor") ?? root.PositiveNumber("partial_rotary_factor");

    private static Llama3RopeScaling? ReadScaling(JsonElement rope)
    {
        if (rope.ValueKind != JsonValueKind.Object)
            throw new ModelFormatException($"The rope parameters are {JsonFile.Short(rope)}; an object is needed.");
        foreach (JsonProperty member in rope.EnumerateObject())
        {
            if (member.Value.ValueKind == JsonValueKind.Object)
            {
                throw new ModelFormatException(
                    $"The rope parameters differ by kind of layer ('{member.Name}'), which is not supported.");
            }
        }
        string kind = rope.Text("rope_type") ?? rope.Text("type") ?? "default";
        if (kind == "default")
            return null;
        if (kind != "llama3")
            throw new ModelFormatException($"'rope_type' is {kind}; default and llama3 are supported.");
        var scaling = new Llama3RopeScaling(
            Number("factor"), Number("low_freq_factor"), Number("high_freq_factor"),
            rope.Integer("original_max_position_embeddings", 1)
                ?? throw new ModelFormatException("llama3 rope scaling lacks 'original_max_position_embeddings'."));
        if (scaling.HighFrequencyFactor <= scaling.LowFrequencyFactor)
        {
            throw new ModelFormatException(
                $"'high_freq_factor' is {scaling.HighFrequencyFactor}; "
                + $"it must be above 'low_freq_factor', {scaling.LowFrequencyFactor}.");
        }
        return scaling;

        double Number(string name) => rope.PositiveNumber(name)
            ?? throw new ModelFormatException($"llama3 rope scaling lacks '{name}'.");
    }

    private static IReadOnlyList<int> ReadEndTokens(JsonElement root)
    {
        if (root.Member("eos_token_id") is not { ValueKind: JsonValueKind.Array } list)
            return root.Integer("eos_token_id", 0) is { } id ? [id] : [];
        return [.. list.EnumerateArray().Select(element =>
            element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int end)
                ? end
                : throw new ModelFormatException($"'eos_token_id' holds {JsonFile.Short(element)}; integers are needed."))];
    }
}
