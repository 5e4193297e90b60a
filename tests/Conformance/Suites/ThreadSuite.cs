using System.Collections.Concurrent;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>
/// Many threads on one device, each with instances of its own and all of them on the same two streams, so that work of different
/// shapes and pipelines overlaps: every result is, to the bit, what the same call gave alone.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="threads">Threads.</param>
/// <param name="calls">Calls of all threads together.</param>
public sealed class ThreadSuite(CudaDevice device, int threads = 8, int calls = 2000)
{
    private static readonly SuiteShape[] s_shapes =
    [
        new(1, 4, 4, 128, 64), new(2, 4, 2, 333, 64), new(1, 8, 1, 700, 64), new(3, 2, 1, 257, 64),
        new(1, 4, 2, 512, 128), new(2, 3, 1, 190, 128), new(1, 2, 2, 1500, 128),
    ];

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        yield return SuiteCheck.Of($"{threads} threads, 2 streams, {calls} calls", Check);
    }

    private string? Check()
    {
        CompactTensors<BFloat16, BFloat16>[] tensors =
            [.. s_shapes.Select((shape, i) => new CompactTensors<BFloat16, BFloat16>(device, shape, seed: 10 * i))];
        CudaStream[] streams = [new(device), new(device)];
        try
        {
            SuiteResult<BFloat16>[][] alone = [.. ((bool[])[false, true]).Select(sparse =>
            {
                using ICudaAttentionPipeline pipeline = Create(sparse);
                return tensors.Select(one => one.Run(pipeline)).ToArray();
            })];
            string? poison = alone.SelectMany(results => results).Select(result => result.Poison()).FirstOrDefault(text => text is not null);
            if (poison is not null)
                return $"alone, {poison}";
            var failures = new ConcurrentQueue<string>();
            Thread[] workers = [.. Enumerable.Range(0, threads).Select(thread => new Thread(() =>
            {
                try
                {
                    Work(thread, tensors, alone, streams, failures);
                }
                catch (Exception exception)
                {
                    failures.Enqueue($"thread {thread}: {exception.GetType().Name}: {exception.Message}");
                }
            }))];
            Array.ForEach(workers, worker => worker.Start());
            Array.ForEach(workers, worker => worker.Join());
            return failures.IsEmpty ? null : $"{failures.Count} mismatches; {failures.First()}";
        }
        finally
        {
            Array.ForEach(streams, stream => stream.Dispose());
            Array.ForEach(tensors, one => one.Dispose());
        }
    }

    private void Work(
        int thread, CompactTensors<BFloat16, BFloat16>[] tensors, SuiteResult<BFloat16>[][] alone, CudaStream[] streams,
        ConcurrentQueue<string> failures)
    {
        var random = new Random(thread);
        using ICudaAttentionPipeline dense = Create(sparse: false), sparse = Create(sparse: true);
        using CudaTensor<BFloat16> outputs =
            CudaTensor.Allocate<BFloat16>(device, streams.Length, s_shapes.Max(shape => shape.QueryElements));
        using CudaTensor<float> sums =
            CudaTensor.Allocate<float>(device, streams.Length, s_shapes.Max(shape => shape.QueryElements / shape.HeadDim));
        var slots = new (int Item, int Sparse, CudaTensor<BFloat16> Output, CudaTensor<float> LogSumExp)[streams.Length];
        for (int call = 0; call < calls / threads; call += streams.Length)
        {
            // One call on each stream, by the same instance where the draw wants it so, before either is waited for.
            for (int slot = 0; slot < streams.Length; slot++)
            {
                (int item, int isSparse) = (random.Next(s_shapes.Length), random.Next(2));
                SuiteShape shape = s_shapes[item];
                (nint heads, nint length, nint dim) = (shape.QueryHeads, shape.Length, shape.HeadDim);
                CudaTensor<BFloat16> output = outputs.View(
                    slot * outputs.Strides[0], [shape.Batch, heads, length, dim], [heads * length * dim, length * dim, dim, 1]);
                CudaTensor<float> logSumExp = sums.View(
                    slot * sums.Strides[0], [shape.Batch, heads, length], [heads * length, length, 1]);
                output.FillBytes(0xFF, streams[slot]);
                logSumExp.FillBytes(0xFF, streams[slot]);
                (isSparse == 1 ? sparse : dense).Run(
                    tensors[item].Arguments with { Output = output, LogSumExp = logSumExp }, streams[slot]);
                slots[slot] = (item, isSparse, output, logSumExp);
            }
            for (int slot = 0; slot < streams.Length; slot++)
            {
                var (item, isSparse, output, logSumExp) = slots[slot];
                var result = SuiteResult<BFloat16>.Of(output, logSumExp, streams[slot]);
                if (alone[isSparse][item].Difference(result) is { } difference)
                {
                    string pipeline = isSparse == 1 ? "token-sparse" : "dense";
                    failures.Enqueue($"thread {thread} call {call + slot} ({pipeline}, {s_shapes[item]}): {difference}");
                }
            }
        }
    }

    private ICudaAttentionPipeline Create(bool sparse) => sparse
        ? TokenSparsePrefill.Create(device, new() { Coverage = 0.3, MinTokens = 16 })
        : DenseAttention.Create(device);
}
