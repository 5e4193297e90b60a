using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>
/// Tensors that stages take from the caller, on the fake driver with the real compiler: each call's must arrive where the compiled
/// kernels read them, in kernels launched one by one and in graphs alike.
/// </summary>
public sealed class TensorLaunchTests : IDisposable
{
    private const int Heads = 4, KeyHeads = 2, Length = 300, Dim = 64, Gate = 128;
    private const string GateKeys = "gate_weights_gate_keys", Select = "gate_weights_select";

    private readonly FakeDriver _driver = new() { Capability = (8, 0), ReadsCubins = true };
    private readonly CudaDevice _device;
    private readonly GateWeights _pipeline;
    private readonly List<IDisposable> _memory = [];
    private readonly CudaAttentionArguments<Half, Half> _arguments;

    public TensorLaunchTests()
    {
        _device = new CudaDevice(_driver, 0);
        _pipeline = GateWeights.Create(_device);
        _arguments = new()
        {
            Query = Allocate<Half>(1, Heads, Length, Dim), Key = Allocate<Half>(1, KeyHeads, Length, Dim),
            Value = Allocate<Half>(1, KeyHeads, Length, Dim), Output = Allocate<Half>(1, Heads, Length, Dim),
        };
    }

    public void Dispose()
    {
        _memory.ForEach(each => each.Dispose());
        _pipeline.Dispose();
        _device.Dispose();
        Assert.Empty(_driver.Allocations);
    }

    [NvrtcFact]
    public void Each_calls_tensors_arrive_by_address_in_graphs_too()
    {
        CudaTensor<float>[] queries = [.. Enumerable.Range(0, 2).Select(_ => Allocate<float>(Heads, Dim, Gate))];
        CudaTensor<float>[] keys = [.. Enumerable.Range(0, 2).Select(_ => Allocate<float>(Heads, 3, Dim, Gate))];
        GateWeights.CudaTensors[] layers =
            [.. Enumerable.Range(0, 2).Select(i => new GateWeights.CudaTensors { QueryGate = queries[i], KeyGate = keys[i] })];
        foreach ((int layer, int made, int updated, int launched) in new[] { (0, 0, 0, 0), (1, 1, 0, 1), (0, 0, 1, 1), (0, 0, 0, 1), (1, 0, 1, 1) })
        {
            _driver.Calls.Clear();
            _pipeline.Run(_arguments with { Tensors = layers[layer] });
            Assert.Equal((made, updated, launched), (Count("GraphInstantiate"), Count("GraphUpdate"), Count("GraphLaunch")));
            Assert.Equal(queries[layer].Pointer, Argument(Select, place: 2));
            Assert.Equal(keys[layer].Pointer, Argument(GateKeys, place: 2));
        }
        Assert.Equal(5, _driver.Kernels[Select].Launches.Count);
    }

    [NvrtcFact]
    public unsafe void Tensors_in_host_memory_are_copied_to_the_device()
    {
        float[] query = [.. Enumerable.Range(0, Heads * Dim * Gate).Select(i => (float)i)];
        float[] key = [.. Enumerable.Range(0, Heads * 3 * Dim * Gate).Select(i => -(float)i)];
        var data = new Half[Heads * Length * Dim];
        var output = new Half[data.Length];
        _pipeline.Run(new AttentionArguments<Half, Half>
        {
            Query = AttentionTensor.FromBhld(data, 1, Heads, Length, Dim), Key = AttentionTensor.FromBhld(data, 1, Heads, Length, Dim),
            Value = AttentionTensor.FromBhld(data, 1, Heads, Length, Dim), Output = AttentionTensor.FromBhld(output, 1, Heads, Length, Dim),
            Tensors = new GateWeights.Tensors
            {
                QueryGate = Tensor.Create(query, [Heads, Dim, Gate]), KeyGate = Tensor.Create(key, [Heads, 3, Dim, Gate]),
            },
        });
        Assert.Equal(query, new ReadOnlySpan<float>((void*)Argument(Select, place: 2), query.Length).ToArray());
        Assert.Equal(key, new ReadOnlySpan<float>((void*)Argument(GateKeys, place: 2), key.Length).ToArray());
    }

    [Fact]
    public void What_is_missing_or_does_not_fit_is_refused_before_a_launch()
    {
        Refused("query_gate", "GateWeights of gate-weights takes query_gate from the caller, float [4, 64, 128] "
            + "(QueryHeads, HeadDim, GateDim = 128), and the call has none; set Tensors.", null);
        CudaTensor<float> query = Allocate<float>(Heads, Dim, Gate), key = Allocate<float>(Heads, 3, Dim, Gate);
        Refused("key_gate", "key_gate is float [4, 64, 128]; GateWeights of gate-weights takes float [4, 3, 64, 128]",
            new GateWeights.CudaTensors { QueryGate = query, KeyGate = query });
        CudaTensor<float> gaps = Allocate<float>(Heads, 2 * Dim, Gate).View(0, [Heads, Dim, Gate], [2 * Dim * Gate, 2 * Gate, 1]);
        Refused("query_gate", "strides [16384, 256, 1]; gate-weights reads it without gaps",
            new GateWeights.CudaTensors { QueryGate = gaps, KeyGate = key });
        var other = new GateWeights.CudaTensors { QueryGate = query, KeyGate = key };
        other.Set("value_gate", query);
        Refused("value_gate", "It takes: query_gate, key_gate.", other);
    }

    private void Refused(string name, string said, CudaStageTensors? tensors)
    {
        _driver.Calls.Clear();
        ArgumentException error = Assert.Throws<ArgumentException>(name, () => _pipeline.Run(_arguments with { Tensors = tensors }));
        Assert.Contains(said, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("Launch", _driver.Calls);
    }

    private int Count(string call) => _driver.Calls.Count(name => name == call);

    // Of the last launch; the arguments up to it are the problem and the tensor maps, which lie at a multiple of 64 bytes.
    private nint Argument(string entry, int place)
    {
        FakeKernel kernel = _driver.Kernels[entry];
        Assert.Equal([208, 2 * DeviceTensorMaps.MapBytes, 8], kernel.Parameters!.Take(place + 1).Select(p => p.Bytes));
        return MemoryMarshal.Read<nint>(kernel.Launches[^1].Arguments.AsSpan(256 + 2 * DeviceTensorMaps.MapBytes));
    }

    private CudaTensor<T> Allocate<T>(params nint[] lengths) where T : unmanaged
    {
        CudaTensor<T> tensor = CudaTensor.Allocate<T>(_device, lengths);
        _memory.Add(tensor);
        return tensor;
    }
}
