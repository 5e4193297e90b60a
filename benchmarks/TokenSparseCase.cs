using AttnCompose.Cpu;
using AttnCompose.Pipelines;

namespace AttnCompose.Benchmarks;

/// <summary>
/// The two ready pipelines on the same N(0,1) data, the sparse one at the coverage that keeps a given share of the tokens.
/// Causal, one sequence, every head its own keys, float32.
/// </summary>
internal sealed class TokenSparseCase : IDisposable
{
    private readonly CpuDevice _device;
    private readonly DenseAttention _dense;
    private readonly TokenSparsePrefill _sparse;
    private readonly float[] _query, _key, _value, _output;
    private readonly int _heads, _length, _dim;

    public TokenSparseCase(int workers, int length, int dim, int heads, double keep)
    {
        (_heads, _length, _dim) = (heads, length, dim);
        _device = AttentionDevice.Cpu(workers);
        var random = new Random(1);
        _query = Fill(random, heads * length * dim);
        _key = Fill(random, heads * length * dim);
        _value = Fill(random, heads * length * dim);
        _output = new float[heads * length * dim];
        _dense = DenseAttention.Create(_device);

        // The share of tokens that a coverage keeps depends on the data and falls as the coverage grows.
        (double low, double high) = (0, 1);
        for (int i = 0; i < 16; i++)
        {
            Coverage = (low + high) / 2;
            using TokenSparsePrefill trial = TokenSparsePrefill.Create(_device, new() { Coverage = Coverage, MinTokens = 0 });
            Kept = (double)Count(trial) / length;
            (low, high) = Kept > keep ? (Coverage, high) : (low, Coverage);
            if (Math.Abs(Kept - keep) < 0.002)
                break;
        }
        _sparse = TokenSparsePrefill.Create(_device, new() { Coverage = Coverage, MinTokens = 0 });
    }

    /// <summary>The coverage found.</summary>
    public double Coverage { get; }

    /// <summary>The share of tokens that it keeps.</summary>
    public double Kept { get; }

    public void RunDense() => Run(_dense, null);

    public void RunSparse() => Run(_sparse, null);

    public void Dispose()
    {
        _dense.Dispose();
        _sparse.Dispose();
        _device.Dispose();
    }

    private int Count(TokenSparsePrefill pipeline)
    {
        var selection = new TokenSelection();
        Run(pipeline, selection);
        return selection.KeyCount(0, 0);
    }

    private void Run(IAttentionPipeline pipeline, TokenSelection? selection) => pipeline.Run(new AttentionArguments<float, float>
    {
        Query = AttentionTensor.FromBhld(_query, 1, _heads, _length, _dim),
        Key = AttentionTensor.FromBhld(_key, 1, _heads, _length, _dim),
        Value = AttentionTensor.FromBhld(_value, 1, _heads, _length, _dim),
        Output = AttentionTensor.FromBhld(_output, 1, _heads, _length, _dim),
        Selection = selection,
    });

    private static float[] Fill(Random random, int count)
    {
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        return values;
    }
}
