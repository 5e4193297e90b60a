using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Models;

/// <summary>
/// What a decoder layer does besides attention, for a block of rows at a time, so that a row's intermediate values stay in the
/// second-level cache: before attention, norm and projections with rotary embedding; after it, output projection and SwiGLU.
/// </summary>
internal unsafe struct LlamaLayerWork : ICpuWork
{
    public LlamaConfig Config;
    public LlamaLayerScratch Scratch;
    public LlamaLayer Layer;
    public float[] Rotary;
    public bool AfterAttention;
    public int Rows;
    public int FirstPosition;
    public int RowsAnItem;
    public float* Stream;   // [rows, hidden]
    public float* Queries;  // [rows, query heads, dim]
    public float* Attended; // [rows, query heads, dim]
    public float* Keys;     // [positions, key/value heads, dim]
    public float* Values;   // [positions, key/value heads, dim]

    public readonly int Items => (Rows + RowsAnItem - 1) / RowsAnItem;

    public readonly void Execute(int item, int worker)
    {
        int first = item * RowsAnItem;
        int count = Math.Min(RowsAnItem, Rows - first);
        if (AfterAttention)
            FeedForward(first, count, worker);
        else
            Project(first, count, worker);
    }

    /// <summary>RMS norm of one row: x / sqrt(mean(x^2) + epsilon) * weight.</summary>
    public static void Normalize(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, double epsilon, Span<float> result)
    {
        float scale = (float)(1 / Math.Sqrt(TensorPrimitives.SumOfSquares(x) / (double)x.Length + epsilon));
        TensorPrimitives.Multiply(x, scale, result);
        TensorPrimitives.Multiply(result, weight, result);
    }

    private readonly void Project(int first, int count, int worker)
    {
        int hidden = Config.HiddenSize, dim = Config.HeadDim;
        int queryWidth = Config.QueryHeads * dim, keyWidth = Config.KeyValueHeads * dim;
        float* normal = NormalizeRows(first, count, Layer.AttentionNorm, worker);
        float* queries = Queries + (long)first * queryWidth;
        float* keys = Keys + (long)(FirstPosition + first) * keyWidth;
        float* values = Values + (long)(FirstPosition + first) * keyWidth;
        Layer.Query.Multiply(normal, hidden, count, queries, queryWidth, accumulate: false);
        Layer.Key.Multiply(normal, hidden, count, keys, keyWidth, accumulate: false);
        Layer.Value.Multiply(normal, hidden, count, values, keyWidth, accumulate: false);
        for (int row = 0; row < count; row++)
        {
            ReadOnlySpan<float> turn = Rotary.AsSpan((FirstPosition + first + row) * dim, dim);
            for (int head = 0; head < Config.QueryHeads; head++)
                RotaryEmbedding.Apply(queries + (long)row * queryWidth + head * dim, turn);
            for (int head = 0; head < Config.KeyValueHeads; head++)
                RotaryEmbedding.Apply(keys + (long)row * keyWidth + head * dim, turn);
        }
    }

    private readonly void FeedForward(int first, int count, int worker)
    {
        int hidden = Config.HiddenSize, inner = Config.IntermediateSize, queryWidth = Config.QueryHeads * Config.HeadDim;
        float* stream = Stream + (long)first * hidden;
        Layer.AttentionOutput.Multiply(Attended + (long)first * queryWidth, queryWidth, count, stream, hidden, accumulate: true);
        float* normal = NormalizeRows(first, count, Layer.FeedForwardNorm, worker);
        float* gate = Scratch.Gate(worker).Data;
        float* up = Scratch.Up(worker).Data;
        Layer.Gate.Multiply(normal, hidden, count, gate, inner, accumulate: false);
        Layer.Up.Multiply(normal, hidden, count, up, inner, accumulate: false);
        for (int row = 0; row < count; row++)
        {
            // gate * sigmoid(gate) * up, the first factor folded into up so that the sigmoid can be computed in place.
            var g = new Span<float>(gate + (long)row * inner, inner);
            var u = new Span<float>(up + (long)row * inner, inner);
            TensorPrimitives.Multiply(u, g, u);
            TensorPrimitives.Sigmoid(g, g);
            TensorPrimitives.Multiply(u, g, g);
        }
        Layer.Down.Multiply(gate, inner, count, stream, hidden, accumulate: true);
    }

    private readonly float* NormalizeRows(int first, int count, float[] weight, int worker)
    {
        int hidden = Config.HiddenSize;
        float* normal = Scratch.Normal(worker).Data;
        for (int row = 0; row < count; row++)
        {
            Normalize(new ReadOnlySpan<float>(Stream + (long)(first + row) * hidden, hidden), weight, Config.NormEpsilon,
                new Span<float>(normal + (long)row * hidden, hidden));
        }
        return normal;
    }
}

/// <summary>Intermediate values of a block of rows, per worker.</summary>
internal sealed class LlamaLayerScratch : IDisposable
{
    private const int MaxRowsAnItem = 64;

    private readonly FloatBuffer[] _normal;
    private readonly FloatBuffer[] _gate;
    private readonly FloatBuffer[] _up;

    public LlamaLayerScratch(LlamaConfig config, int workers)
    {
        _normal = Make(config.HiddenSize);
        _gate = Make(config.IntermediateSize);
        _up = Make(config.IntermediateSize);

        FloatBuffer[] Make(int width) =>
            [.. Enumerable.Range(0, workers).Select(_ => new FloatBuffer((long)MaxRowsAnItem * width))];
    }

    public FloatBuffer Normal(int worker) => _normal[worker];

    public FloatBuffer Gate(int worker) => _gate[worker];

    public FloatBuffer Up(int worker) => _up[worker];

    /// <summary>Rows of one item: a few items a worker, in multiples of what the matrix product takes at once.</summary>
    public int RowsAnItem(int rows) => Math.Clamp(rows / (4 * _normal.Length) / 4 * 4, 4, MaxRowsAnItem);

    public void Dispose()
    {
        foreach (FloatBuffer buffer in (FloatBuffer[])[.. _normal, .. _gate, .. _up])
            buffer.Dispose();
    }
}
