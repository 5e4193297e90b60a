using System.Diagnostics;
using System.Numerics.Tensors;

namespace AttnCompose.Models;

/// <summary>Sees the residual stream around one decoder layer.</summary>
/// <param name="layer">The layer.</param>
/// <param name="input">[tokens, hidden size], what the layer got.</param>
/// <param name="output">[tokens, hidden size], what it made of it, attention and feed-forward.</param>
public delegate void LayerObserver(int layer, ReadOnlySpan<float> input, ReadOnlySpan<float> output);

/// <summary>What the attention of one layer did in the last call.</summary>
/// <param name="AttentionSeconds">Wall time of the pipeline, selection included.</param>
/// <param name="KeptFraction">Kept tokens over tokens, mean over the query heads; 1 where the pipeline selects nothing.</param>
/// <param name="KeptPairs">Query-key pairs that attention looked at, all heads.</param>
/// <param name="AllPairs">Query-key pairs of the causal mask, all heads.</param>
public readonly record struct LayerReport(double AttentionSeconds, double KeptFraction, double KeptPairs, double AllPairs)
{
    /// <summary>Whether the pipeline has a token selector.</summary>
    public bool Selected { get; init; }
}

/// <summary>
/// One sequence of a model: its keys and values of all layers so far. Tokens are appended by <see cref="Prefill"/>, in one
/// call or several, and by <see cref="Decode"/>. The residual stream is float32. Not thread-safe.
/// </summary>
public sealed unsafe class LlamaSession : IDisposable
{
    private readonly LlamaModel _model;
    private readonly FloatBuffer[] _keys;
    private readonly FloatBuffer[] _values;
    private readonly FloatBuffer _logits;
    private readonly LayerReport[] _reports;
    private readonly TokenSelection _selection = new();
    private readonly BlockMask _blocks = new();
    private readonly LlamaLayerScratch _scratch;
    private FloatBuffer _stream = new(0);
    private FloatBuffer _before = new(0);
    private FloatBuffer _queries = new(0);
    private FloatBuffer _attended = new(0);

    /// <summary>A session for at most <paramref name="capacity"/> tokens.</summary>
    public LlamaSession(LlamaModel model, int capacity)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        (_model, Capacity) = (model, capacity);
        LlamaConfig config = model.Config;
        // Attention takes keys and values as spans, whose length is an int.
        long longest = (long)capacity * Math.Max(config.QueryHeads * config.HeadDim, config.HiddenSize);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(longest, Array.MaxLength, nameof(capacity));
        long elements = (long)capacity * config.KeyValueHeads * config.HeadDim;
        _keys = [.. model.Layers.Select(_ => new FloatBuffer(elements))];
        _values = [.. model.Layers.Select(_ => new FloatBuffer(elements))];
        _logits = new FloatBuffer(config.VocabularySize);
        _reports = new LayerReport[config.Layers];
        _scratch = new LlamaLayerScratch(config, model.Device.Workers.Count);
    }

    /// <summary>Most tokens.</summary>
    public int Capacity { get; }

    /// <summary>Tokens so far.</summary>
    public int Length { get; private set; }

    /// <summary>Logits of the last token, one a word of the vocabulary; valid until the next call.</summary>
    public ReadOnlySpan<float> Logits => _logits.Span(0, _model.Config.VocabularySize);

    /// <summary>The token with the largest logit; the lowest such id.</summary>
    public int BestToken => TensorPrimitives.IndexOfMax(Logits);

    /// <summary>What the attention of each layer did in the last call.</summary>
    public IReadOnlyList<LayerReport> Reports => _reports;

    /// <summary>Forgets all tokens.</summary>
    public void Reset() => Length = 0;

    /// <summary>
    /// Appends tokens; <see cref="Logits"/> are then those of the last one. After earlier tokens this is a chunk of a longer
    /// prefill: fewer queries than keys, aligned at the end.
    /// </summary>
    /// <param name="tokens">At least one token.</param>
    /// <param name="attention">
    /// The pipeline of each layer; its mask must be causal. One instance may serve several layers.
    /// </param>
    /// <param name="observer">Optional: sees the residual stream around each layer.</param>
    /// <exception cref="ArgumentException">
    /// No tokens, more than fit, one outside the vocabulary, or a pipeline that is not causal.
    /// </exception>
    public void Prefill(ReadOnlySpan<int> tokens, Func<int, IAttentionPipeline> attention, LayerObserver? observer = null)
    {
        ArgumentNullException.ThrowIfNull(attention);
        LlamaConfig config = _model.Config;
        if (tokens.IsEmpty)
            throw new ArgumentException("There are no tokens.", nameof(tokens));
        if (tokens.Length > Capacity - Length)
        {
            throw new ArgumentException(
                $"{tokens.Length} tokens do not fit: the session holds {Length} of at most {Capacity}.", nameof(tokens));
        }
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)config.VocabularySize)
            {
                throw new ArgumentException(
                    $"Token {token} is outside the vocabulary of {config.VocabularySize}.", nameof(tokens));
            }
        }

        int rows = tokens.Length, hidden = config.HiddenSize, queryWidth = config.QueryHeads * config.HeadDim;
        Reserve(ref _stream, (long)rows * hidden);
        Reserve(ref _queries, (long)rows * queryWidth);
        Reserve(ref _attended, (long)rows * queryWidth);
        if (observer is not null)
            Reserve(ref _before, (long)rows * hidden);
        for (int row = 0; row < rows; row++)
            _model.Embedding.Span((long)tokens[row] * hidden, hidden).CopyTo(_stream.Span((long)row * hidden, hidden));

        var work = new LlamaLayerWork
        {
            Config = config, Scratch = _scratch, Rotary = _model.Rotary.Table(Length + rows),
            Rows = rows, FirstPosition = Length, RowsAnItem = _scratch.RowsAnItem(rows),
            Stream = _stream.Data, Queries = _queries.Data, Attended = _attended.Data,
        };
        for (int layer = 0; layer < config.Layers; layer++)
        {
            if (observer is not null)
                Buffer.MemoryCopy(_stream.Data, _before.Data, _before.Count * sizeof(float), (long)rows * hidden * sizeof(float));
            work.Layer = _model.Layers[layer];
            work.Keys = _keys[layer].Data;
            work.Values = _values[layer].Data;
            work.AfterAttention = false;
            _model.Device.Workers.Run(ref work, work.Items);
            _reports[layer] = Attend(layer, rows, attention(layer));
            work.AfterAttention = true;
            _model.Device.Workers.Run(ref work, work.Items);
            observer?.Invoke(layer, _before.Span(0, rows * hidden), _stream.Span(0, rows * hidden));
        }
        float* last = _stream.Data + (long)(rows - 1) * hidden;
        Span<float> normal = _scratch.Normal(0).Span(0, hidden);
        LlamaLayerWork.Normalize(new ReadOnlySpan<float>(last, hidden), _model.FinalNorm, config.NormEpsilon, normal);
        _model.Output.Multiply(_scratch.Normal(0).Data, hidden, 1, _logits.Data, config.VocabularySize, accumulate: false);
        Length += rows;
    }

    /// <summary>Appends one token, attending densely to all before it.</summary>
    public void Decode(int token, IAttentionPipeline dense) => Prefill([token], _ => dense);

    /// <summary>
    /// Goes on from the last logits, always with the best token, until an end token, <paramref name="most"/> tokens or the
    /// capacity. An end token is not part of the result.
    /// </summary>
    /// <param name="most">Most tokens.</param>
    /// <param name="dense">The attention of the decode steps.</param>
    public int[] DecodeGreedily(int most, IAttentionPipeline dense)
    {
        if (Length == 0)
            throw new InvalidOperationException("There is nothing to go on from: prefill first.");
        var result = new List<int>();
        while (result.Count < most)
        {
            int token = BestToken;
            if (_model.Config.EndTokens.Contains(token))
                break;
            result.Add(token);
            if (result.Count == most || Length == Capacity)
                break;
            Decode(token, dense);
        }
        return [.. result];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FloatBuffer buffer in (FloatBuffer[])[.. _keys, .. _values, _logits, _stream, _before, _queries, _attended])
            buffer.Dispose();
        _scratch.Dispose();
    }

    private LayerReport Attend(int layer, int rows, IAttentionPipeline pipeline)
    {
        LlamaConfig config = _model.Config;
        if (pipeline.PipelinePlan.Mask != AttentionMask.Causal)
        {
            throw new ArgumentException(
                $"Pipeline {pipeline.PipelinePlan.Name} of layer {layer} is not causal.", nameof(pipeline));
        }
        int keys = Length + rows, heads = config.QueryHeads, dim = config.HeadDim;
        int keyElements = keys * config.KeyValueHeads * dim;
        bool choosesBlocks = pipeline.PipelinePlan.Stages.Any(stage => stage.Kind == StageKind.BlockSelector);
        _selection.Reset(0, 0, 0);
        long start = Stopwatch.GetTimestamp();
        pipeline.Run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBlhd(_queries.Span(0, rows * heads * dim), 1, rows, heads, dim),
            Key = AttentionTensor.FromBlhd(_keys[layer].Span(0, keyElements), 1, keys, config.KeyValueHeads, dim),
            Value = AttentionTensor.FromBlhd(_values[layer].Span(0, keyElements), 1, keys, config.KeyValueHeads, dim),
            Output = AttentionTensor.FromBlhd(_attended.Span(0, rows * heads * dim), 1, rows, heads, dim),
            Selection = _selection,
            Layer = new(layer, config.Layers),
            BlockSelection = choosesBlocks ? _blocks : null,
        });
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        bool selected = _selection.Batch > 0;
        double all = heads * Pairs(keys, keys - rows), kept = 0, pairs = 0;
        for (int head = 0; head < heads; head++)
        {
            (int count, int begin) = selected ? (_selection.KeyCount(0, head), _selection.QueryBegin(0, head)) : (keys, keys - rows);
            kept += count;
            pairs += choosesBlocks ? _blocks.CausalPairs(0, head, count - begin, count) : Pairs(count, begin);
        }
        return new LayerReport(seconds, kept / ((double)heads * keys), pairs, all) { Selected = selected };

        // Query i of [first, length) sees i + 1 keys.
        static double Pairs(double length, double first) => (length * (length + 1) - first * (first + 1)) / 2;
    }

    private static void Reserve(ref FloatBuffer buffer, long count)
    {
        if (buffer.Count >= count)
            return;
        buffer.Dispose();
        buffer = new FloatBuffer(count);
    }
}
