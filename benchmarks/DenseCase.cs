using AttnCompose.Cpu;

namespace AttnCompose.Benchmarks;

/// <summary>Dense attention on seeded data: one sequence, every head its own keys unless said otherwise.</summary>
internal sealed class DenseCase<T> : IDisposable, ICpuPipeline
    where T : unmanaged
{
    private static readonly FlashAttentionAttribute s_kernel = new();

    private readonly CpuDevice _device;
    private readonly CpuPipelineRunner _runner;
    private readonly T[] _query, _key, _value;
    private readonly float[] _output;
    private readonly int _heads, _keyHeads, _length, _dim;

    public DenseCase(int workers, AttentionMask mask, int length, int dim, int heads, int keyHeads)
    {
        (_heads, _keyHeads, _length, _dim) = (heads, keyHeads, length, dim);
        _device = AttentionDevice.Cpu(workers);
        _runner = new CpuPipelineRunner(_device, "dense", mask, 0, ElementType.Any);
        var random = new Random(1);
        _query = Fill(random, heads * length * dim);
        _key = Fill(random, keyHeads * length * dim);
        _value = Fill(random, keyHeads * length * dim);
        _output = new float[heads * length * dim];
        double pairs = mask == AttentionMask.Causal ? length * (length + 1.0) / 2 : (double)length * length;
        Operations = 4.0 * dim * pairs * heads;
    }

    /// <summary>Useful floating-point operations of a run: 4 * dim for each pair that is not masked.</summary>
    public double Operations { get; }

    public void Run() => _runner.Run(this, new AttentionArguments<T, float>
    {
        Query = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_query, 1, _heads, _length, _dim),
        Key = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_key, 1, _keyHeads, _length, _dim),
        Value = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_value, 1, _keyHeads, _length, _dim),
        Output = AttentionTensor.FromBhld(_output.AsSpan(), 1, _heads, _length, _dim),
    });

    public void Execute<TIn, TOut>(in CpuProblem<TIn, TOut> problem, CpuExecution cpu)
        where TIn : unmanaged
        where TOut : unmanaged =>
        s_kernel.Attend(in problem, cpu, new DirectRows(), new NoScoreHook(), new DirectDestination());

    public void Dispose()
    {
        _runner.Dispose();
        _device.Dispose();
    }

    private static T[] Fill(Random random, int count)
    {
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = random.NextSingle() * 2 - 1;
        var result = new T[count];
        ElementConvert.FromFloat<T>(values, result);
        return result;
    }
}
