using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>
/// A call captured once into a graph and replayed a hundred times, each time with other lengths in device memory and, where
/// tokens are selected, another coverage: every replay gives, to the bit, what a call of another instance gives. And calls of
/// changing shapes that go to the driver as graphs give what the same kernels give one by one.
/// </summary>
public sealed class GraphSuite(CudaDevice device)
{
    private const int Replays = 100;

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        yield return SuiteCheck.Of($"dense: {Replays} replays", () =>
        {
            using DenseAttention captured = DenseAttention.Create(device), called = DenseAttention.Create(device);
            return Check(captured, called, configure: null);
        });
        yield return SuiteCheck.Of($"token-sparse: {Replays} replays", () =>
        {
            using TokenSparsePrefill captured = TokenSparsePrefill.Create(device), called = TokenSparsePrefill.Create(device);
            return Check(captured, called, random =>
            {
                var options = new TokenSparsePrefill.Options { Coverage = random.NextDouble(), MinTokens = random.Next(200) };
                captured.Configure(options);
                called.Configure(options);
            });
        });
        yield return SuiteCheck.Of($"token-sparse: {Replays} calls as graphs", CheckCalls);
    }

    private string? CheckCalls()
    {
        SuiteShape[] shapes = [new(1, 4, 2, 700, 64), new(2, 4, 4, 333, 64), new(1, 8, 2, 1500, 64), new(1, 4, 2, 700, 64)];
        CompactTensors<BFloat16, BFloat16>[] tensors =
            [.. shapes.Select((shape, i) => new CompactTensors<BFloat16, BFloat16>(device, shape, seed: 20 + i))];
        CudaTuning? own = device.OwnTuning;
        CudaTuning tuning = device.Tuning;
        try
        {
            using TokenSparsePrefill together = TokenSparsePrefill.Create(device), apart = TokenSparsePrefill.Create(device);
            var random = new Random(5);
            for (int call = 0; call < Replays; call++)
            {
                // Often the same tensors as before, so that graphs are launched unchanged too.
                int item = call % 3 == 0 ? random.Next(shapes.Length) : (call / 3) % shapes.Length;
                // Keys gathered ahead are other kernels, so another graph.
                int gatherLength = random.Next(4) == 0 ? 0 : int.MaxValue;
                if (random.Next(3) == 0)
                {
                    var options = new TokenSparsePrefill.Options { Coverage = random.NextDouble(), MinTokens = random.Next(200) };
                    together.Configure(options);
                    apart.Configure(options);
                }
                device.Tuning = tuning with { GatherLength = gatherLength, GraphKernels = 2 };
                SuiteResult<BFloat16> graph = tensors[item].Run(together);
                device.Tuning = tuning with { GatherLength = gatherLength, GraphKernels = int.MaxValue };
                if ((tensors[item].Run(apart).Difference(graph) ?? graph.Poison()) is { } difference)
                    return $"call {call}, {shapes[item]}: {difference}";
            }
            return null;
        }
        finally
        {
            device.OwnTuning = own;
            Array.ForEach(tensors, one => one.Dispose());
        }
    }

    private string? Check(ICudaAttentionPipeline captured, ICudaAttentionPipeline called, Action<Random>? configure)
    {
        var shape = new SuiteShape(Batch: 3, QueryHeads: 4, KeyValueHeads: 2, Length: 500, HeadDim: 64);
        using var stream = new CudaStream(device);
        using var tensors = new CompactTensors<BFloat16, BFloat16>(device, shape, seed: 11);
        using var keyLengths = CudaTensor.From<int>(device, new int[shape.Batch]);
        using var queryLengths = CudaTensor.From<int>(device, new int[shape.Batch]);
        CudaAttentionArguments<BFloat16, BFloat16> arguments =
            tensors.Arguments with { KeyLengths = keyLengths, QueryLengths = queryLengths };
        captured.Run(in arguments, stream); // compiles, and takes the workspace
        using CudaGraph graph = CudaGraph.Capture(stream, () => captured.Run(in arguments, stream));
        var random = new Random(3);
        for (int replay = 0; replay < Replays; replay++)
        {
            int[] keys = [.. Enumerable.Range(0, shape.Batch).Select(_ => random.Next(0, shape.Length + 1))];
            int[] queries = [.. keys.Select(count => random.Next(2) == 0 ? count : random.Next(0, count + 1))];
            if (configure is not null)
            {
                configure(random);
                graph.Update(stream, () => captured.Run(in arguments, stream));
            }
            keyLengths.CopyFrom(keys, stream);
            queryLengths.CopyFrom(queries, stream);
            tensors.Output.FillBytes(0xFF, stream);
            tensors.LogSumExp.FillBytes(0xFF, stream);
            graph.Launch(stream);
            var replayed = SuiteResult<BFloat16>.Of(tensors.Output, tensors.LogSumExp, stream);
            if ((tensors.Run(called, arguments).Difference(replayed) ?? replayed.Poison()) is { } difference)
            {
                string lengths = $"key lengths {string.Join(' ', keys)}, query lengths {string.Join(' ', queries)}";
                return $"replay {replay}, {lengths}: {difference}";
            }
        }
        return null;
    }
}
