using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>
/// A call captured once into a graph and replayed a hundred times, with other lengths in device memory each time: every replay
/// gives, to the bit, what a call of another instance gives with these lengths.
/// </summary>
public sealed class GraphSuite(CudaDevice device)
{
    private const int Replays = 100;

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        yield return SuiteCheck.Of($"dense: {Replays} replays", () => Check(() => DenseAttention.Create(device)));
        yield return SuiteCheck.Of(
            $"token-sparse: {Replays} replays",
            () => Check(() => TokenSparsePrefill.Create(device, new() { Coverage = 0.3, MinTokens = 8 })));
    }

    private string? Check(Func<ICudaAttentionPipeline> create)
    {
        var shape = new SuiteShape(Batch: 3, QueryHeads: 4, KeyValueHeads: 2, Length: 500, HeadDim: 64);
        using var stream = new CudaStream(device);
        using var tensors = new CompactTensors<BFloat16, BFloat16>(device, shape, seed: 11);
        using var keyLengths = CudaTensor.From<int>(device, new int[shape.Batch]);
        using var queryLengths = CudaTensor.From<int>(device, new int[shape.Batch]);
        CudaAttentionArguments<BFloat16, BFloat16> arguments =
            tensors.Arguments with { KeyLengths = keyLengths, QueryLengths = queryLengths };
        using ICudaAttentionPipeline captured = create(), called = create();
        captured.Run(in arguments, stream); // compiles, and takes the workspace
        using CudaGraph graph = CudaGraph.Capture(stream, () => captured.Run(in arguments, stream));
        var random = new Random(3);
        for (int replay = 0; replay < Replays; replay++)
        {
            int[] keys = [.. Enumerable.Range(0, shape.Batch).Select(_ => random.Next(0, shape.Length + 1))];
            int[] queries = [.. keys.Select(count => random.Next(2) == 0 ? count : random.Next(0, count + 1))];
            keyLengths.CopyFrom(keys, stream);
            queryLengths.CopyFrom(queries, stream);
            tensors.Output.FillBytes(0xFF, stream);
            tensors.LogSumExp.FillBytes(0xFF, stream);
            graph.Launch(stream);
            var replayed = SuiteResult<BFloat16>.Of(tensors.Output, tensors.LogSumExp, stream);
            if ((tensors.Run(called, arguments).Difference(replayed) ?? replayed.Poison()) is { } difference)
                return $"replay {replay}, key lengths {string.Join(' ', keys)}, query lengths {string.Join(' ', queries)}: {difference}";
        }
        return null;
    }
}
