using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests.Calls;

/// <summary>Tensors that stages take from the caller: what is missing or does not fit is refused before anything is computed.</summary>
public sealed class TensorArgumentTests : IDisposable
{
    private const int Heads = 4, KeyHeads = 2, Length = 300, Dim = 16, Gate = 128;

    private readonly CpuDevice _device = AttentionDevice.Cpu(1);
    private readonly GateWeights _pipeline;
    private readonly float[] _query = Waves(Heads * Length * Dim, 0.37f), _key = Waves(KeyHeads * Length * Dim, 0.23f);
    private readonly float[] _output = new float[Heads * Length * Dim];

    public TensorArgumentTests() => _pipeline = GateWeights.Create(_device, new() { Count = 1 });

    public void Dispose()
    {
        _pipeline.Dispose();
        _device.Dispose();
    }

    [Fact]
    public void A_call_reads_the_weights_that_it_is_given()
    {
        var chosen = new BlockMask();
        // The last queries visit blocks 0 and 2 anyway; the gate decides on block 1.
        Run(Weights(1), chosen);
        float[] first = [.. _output];
        Assert.True(chosen.Visits(0, 0, 2, 1));
        _pipeline.Configure(new() { Count = 0, Threshold = 1 });
        Run(Weights(1), chosen);
        Assert.False(chosen.Visits(0, 0, 2, 1));
        Assert.NotEqual(first, _output);
        // A gate of nothing finds all blocks alike, a third of the softmax each.
        _pipeline.Configure(new() { Count = 0, Threshold = 0.33 });
        Run(Weights(0), chosen);
        Assert.True(chosen.Visits(0, 0, 2, 1));
        _pipeline.Configure(new() { Count = 0, Threshold = 0.34 });
        Run(Weights(0), chosen);
        Assert.False(chosen.Visits(0, 0, 2, 1));
    }

    [Fact]
    public void The_same_gate_serves_calls_of_other_lengths()
    {
        GateWeights.Tensors weights = Weights(1);
        Run(weights);
        Run(weights, length: 150);
    }

    [Fact]
    public void A_tensor_that_is_missing_is_named_with_what_is_needed()
    {
        Refused("query_gate", "GateWeights of gate-weights takes query_gate from the caller, float [4, 16, 128] "
            + "(QueryHeads, HeadDim, GateDim = 128), and the call has none; set Tensors.", null);
        var some = new StageTensors();
        some.Set("query_gate", Matrix(1, Heads, Dim, Gate));
        Refused("key_gate", "float [4, 3, 16, 128] (QueryHeads, 3, HeadDim, GateDim = 128), and the call has none", some);
    }

    [Fact]
    public void A_tensor_of_another_shape_or_type_is_told_what_it_is()
    {
        Refused("query_gate", "query_gate is float [2, 16, 128]; GateWeights of gate-weights takes float [4, 16, 128]",
            new GateWeights.Tensors { QueryGate = Matrix(1, KeyHeads, Dim, Gate), KeyGate = Matrix(1, Heads, 3, Dim, Gate) });
        Refused("key_gate", "key_gate is float [4, 48, 128]",
            new GateWeights.Tensors { QueryGate = Matrix(1, Heads, Dim, Gate), KeyGate = Matrix(1, Heads, 3 * Dim, Gate) });
        StageTensors tensors = Weights(1);
        tensors.Set("key_gate", Tensor.Create(new int[Heads * 3 * Dim * Gate], [Heads, 3, Dim, Gate]));
        Refused("key_gate", "key_gate is int [4, 3, 16, 128]; GateWeights of gate-weights takes float", tensors);
    }

    [Fact]
    public void A_tensor_with_gaps_is_refused()
    {
        var data = new float[Heads * Dim * 2 * Gate];
        StageTensors tensors = Weights(1);
        tensors.Set("query_gate", Tensor.Create(data, 0, [Heads, Dim, Gate], [Dim * 2 * Gate, 2 * Gate, 1]));
        Refused("query_gate", "has shape [4, 16, 128] and strides [4096, 256, 1]", tensors);
    }

    [Fact]
    public void A_tensor_that_no_stage_takes_is_refused()
    {
        StageTensors tensors = Weights(1);
        tensors.Set("value_gate", Matrix(1, 1));
        Refused("value_gate", "gate-weights takes no tensor 'value_gate' from its caller. It takes: query_gate, key_gate.", tensors);
        using DenseAttention dense = DenseAttention.Create(_device);
        ArgumentException error = Assert.Throws<ArgumentException>("query_gate", () => Run(Weights(1), pipeline: dense));
        Assert.Contains("It takes: none.", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_plan_says_what_a_pipeline_takes()
    {
        Assert.Equal(
            [
                "query_gate: float [QueryHeads, HeadDim, GateDim = 128], of GateWeights: projection of each head's mean queries",
                "key_gate: float [QueryHeads, 3, HeadDim, GateDim = 128], of GateWeights: projection of each head's largest, least and mean keys",
            ],
            GateWeights.Plan.Tensors.Select(tensor => tensor.ToString()));
        Assert.Equal([5, 3, 64, 128], GateWeights.Plan.Tensors[1].LengthsFor(new ProblemShape(2, 5, 1, 10, 10, 64)));
        Assert.Empty(DenseAttention.Plan.Tensors);
    }

    [Fact]
    public void A_stage_that_asks_for_what_it_does_not_declare_is_told_so()
    {
        using var cpu = new CpuExecution(_device);
        unsafe
        {
            Assert.Throws<ArgumentException>("name", () => { _ = cpu.Tensor<float>("other"); });
        }
    }

    private void Refused(string name, string said, StageTensors? tensors)
    {
        _output.AsSpan().Fill(42);
        ArgumentException error = Assert.Throws<ArgumentException>(name, () => Run(tensors));
        Assert.Contains(said, error.Message, StringComparison.Ordinal);
        Assert.All(_output, value => Assert.Equal(42, value));
    }

    private void Run(StageTensors? tensors, BlockMask? chosen = null, IAttentionPipeline? pipeline = null, int length = Length) =>
        (pipeline ?? _pipeline).Run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld((ReadOnlySpan<float>)_query, 1, Heads, length, Dim),
            Key = AttentionTensor.FromBhld((ReadOnlySpan<float>)_key, 1, KeyHeads, length, Dim),
            Value = AttentionTensor.FromBhld((ReadOnlySpan<float>)_key, 1, KeyHeads, length, Dim),
            Output = AttentionTensor.FromBhld(_output.AsSpan(), 1, Heads, length, Dim), BlockSelection = chosen, Tensors = tensors,
        });

    private static GateWeights.Tensors Weights(float factor) =>
        new() { QueryGate = Matrix(factor, Heads, Dim, Gate), KeyGate = Matrix(factor, Heads, 3, Dim, Gate) };

    private static Tensor<float> Matrix(float factor, params nint[] lengths)
    {
        float[] data = Waves(lengths.Aggregate(1, (count, length) => count * (int)length), 0.71f);
        TensorPrimitives.Multiply(data, factor, data);
        return Tensor.Create(data, lengths);
    }

    private static float[] Waves(int count, float step) => [.. Enumerable.Range(0, count).Select(i => MathF.Sin(i * step))];
}
