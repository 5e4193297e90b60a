using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>How a pipeline answered the prompts of one kind, beside dense attention.</summary>
public sealed record EvaluationRow
{
    /// <summary>Name of the pipeline.</summary>
    public required string Pipeline { get; init; }

    /// <summary>Kind of the prompts.</summary>
    public required string Kind { get; init; }

    /// <summary>Prompts.</summary>
    public int Prompts { get; init; }

    /// <summary>Prompts answered word for word under the pipeline.</summary>
    public int Right { get; init; }

    /// <summary>Prompts answered word for word under dense attention.</summary>
    public int DenseRight { get; init; }

    /// <summary>
    /// Fraction of the tokens kept in the sparse layers, mean over prompts, layers and heads; 1 without such layers.
    /// </summary>
    public double Kept { get; init; }

    /// <summary>Query-key pairs looked at over all pairs of the causal mask, all layers.</summary>
    public double Pairs { get; init; }

    /// <summary>Seconds of prefill and decoding under the pipeline, summed over the prompts.</summary>
    public double Seconds { get; init; }

    /// <summary>The same under dense attention.</summary>
    public double DenseSeconds { get; init; }

    /// <summary>Seconds of the pipelines of all layers in the prefill, selection included, summed over the prompts.</summary>
    public double AttentionSeconds { get; init; }

    /// <summary>The same under dense attention.</summary>
    public double DenseAttentionSeconds { get; init; }

    /// <summary>Fraction of right answers under the pipeline.</summary>
    public double Accuracy => Prompts == 0 ? 0 : (double)Right / Prompts;

    /// <summary>Fraction of right answers under dense attention.</summary>
    public double DenseAccuracy => Prompts == 0 ? 0 : (double)DenseRight / Prompts;
}

/// <summary>The result of an evaluation.</summary>
/// <param name="Rows">One row a kind, in the order in which kinds first occur.</param>
/// <param name="SparseLayers">Layers that ran the pipeline; the others ran dense attention.</param>
public sealed record EvaluationResult(IReadOnlyList<EvaluationRow> Rows, IReadOnlyList<int> SparseLayers)
{
    /// <summary>Layers of the model.</summary>
    public int Layers { get; init; }

    /// <summary>Query-key pairs looked at over all of the causal mask, in the sparse layers alone; 1 without any.</summary>
    public double SparsePairs => SparseLayers.Count == 0 ? 1 : 1 - (1 - Total.Pairs) * Layers / SparseLayers.Count;

    /// <summary>All kinds together; fractions weighted by prompts.</summary>
    public EvaluationRow Total
    {
        get
        {
            int prompts = Rows.Sum(row => row.Prompts);
            return new EvaluationRow
            {
                Pipeline = Rows.Count > 0 ? Rows[0].Pipeline : "",
                Kind = "all",
                Prompts = prompts,
                Right = Rows.Sum(row => row.Right),
                DenseRight = Rows.Sum(row => row.DenseRight),
                Kept = Rows.Sum(row => row.Kept * row.Prompts) / Math.Max(prompts, 1),
                Pairs = Rows.Sum(row => row.Pairs * row.Prompts) / Math.Max(prompts, 1),
                Seconds = Rows.Sum(row => row.Seconds),
                DenseSeconds = Rows.Sum(row => row.DenseSeconds),
                AttentionSeconds = Rows.Sum(row => row.AttentionSeconds),
                DenseAttentionSeconds = Rows.Sum(row => row.DenseAttentionSeconds),
            };
        }
    }

    /// <summary>
    /// Writes <c>{"sparse_layers": [...], "rows": [{"pipeline", "kind", "prompts", "accuracy", "dense_accuracy", "kept",
    /// "pairs", "seconds", "dense_seconds", "attention_seconds", "dense_attention_seconds"}]}</c>. The file
    /// appears whole or not at all.
    /// </summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void WriteJson(string path) =>
        AtomicFile.Write(path, WriteJson, static (message, cause) => new IOException(message, cause));

    /// <summary>Writes the same to a stream.</summary>
    public void WriteJson(Stream stream)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" });
        json.WriteStartObject();
        json.WriteStartArray("sparse_layers");
        foreach (int layer in SparseLayers)
            json.WriteNumberValue(layer);
        json.WriteEndArray();
        json.WriteStartArray("rows");
        foreach (EvaluationRow row in Rows)
        {
            json.WriteStartObject();
            json.WriteString("pipeline", row.Pipeline);
            json.WriteString("kind", row.Kind);
            json.WriteNumber("prompts", row.Prompts);
            json.WriteNumber("accuracy", row.Accuracy);
            json.WriteNumber("dense_accuracy", row.DenseAccuracy);
            json.WriteNumber("kept", row.Kept);
            json.WriteNumber("pairs", row.Pairs);
            json.WriteNumber("seconds", row.Seconds);
            json.WriteNumber("dense_seconds", row.DenseSeconds);
            json.WriteNumber("attention_seconds", row.AttentionSeconds);
            json.WriteNumber("dense_attention_seconds", row.DenseAttentionSeconds);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
