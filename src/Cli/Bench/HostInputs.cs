using AttnCompose.Cpu;

namespace AttnCompose.Cli.Bench;

/// <summary>N(0,1) query, key and value in host memory, and an output.</summary>
internal sealed class HostInputs<T>
    where T : unmanaged
{
    private const int Seed = 1;

    private readonly BenchCase _case;
    private readonly T[] _query, _key, _value;
    private readonly T[] _output;

    /// <param name="problem">Sizes.</param>
    /// <param name="keyDeviation">Standard deviation of the keys.</param>
    public HostInputs(BenchCase problem, double keyDeviation)
    {
        _case = problem;
        long row = (long)problem.Length * problem.HeadDim;
        _query = Normal(row * problem.Heads, Seed, 1);
        _key = Normal(row * problem.KeyValueHeads, Seed + 1, keyDeviation);
        _value = Normal(row * problem.KeyValueHeads, Seed + 2, 1);
        _output = new T[_query.Length];
    }

    public void Run(IAttentionPipeline pipeline, TokenSelection? selection) => pipeline.Run(new AttentionArguments<T, T>
    {
        Query = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_query, 1, _case.Heads, _case.Length, _case.HeadDim),
        Key = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_key, 1, _case.KeyValueHeads, _case.Length, _case.HeadDim),
        Value = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_value, 1, _case.KeyValueHeads, _case.Length, _case.HeadDim),
        Output = AttentionTensor.FromBhld(_output.AsSpan(), 1, _case.Heads, _case.Length, _case.HeadDim),
        Selection = selection,
        Layer = new(0, 1),
    });

    private static T[] Normal(long count, int seed, double deviation)
    {
        const int Block = 1 << 16;
        var result = new T[checked((int)count)];
        Parallel.For(0, (result.Length + Block - 1) / Block, block =>
        {
            var random = new Random(seed * 1_000_003 + block);
            var values = new float[Math.Min(Block, result.Length - block * Block)];
            for (int i = 0; i < values.Length; i++)
            {
                double radius = deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
                values[i] = (float)(radius * Math.Cos(2 * Math.PI * random.NextDouble()));
            }
            ElementConvert.FromFloat<T>(values, result.AsSpan(block * Block, values.Length));
        });
        return result;
    }
}
