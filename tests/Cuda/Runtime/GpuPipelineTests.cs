using System.Runtime.InteropServices;
using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>Generated pipelines on a real device: graphs, warm-up, and what a capture cannot hold.</summary>
public sealed class GpuPipelineTests
{
    private const int Batch = 2, Heads = 8, KeyValueHeads = 2, Length = 1500, Dim = 128;

    private static CudaTensor<BFloat16> Normal(CudaDevice device, int heads, int seed)
    {
        var random = new Random(seed);
        var data = new BFloat16[Batch * heads * Length * Dim];
        for (int i = 0; i < data.Length; i++)
            data[i] = (BFloat16)(float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        return CudaTensor.FromBhld<BFloat16>(device, data, Batch, heads, Length, Dim);
    }

    private static byte[] Bytes<T>(CudaTensor<T> tensor, CudaStream stream) where T : unmanaged
    {
        var data = new T[tensor.Count];
        tensor.CopyTo(data, stream);
        return MemoryMarshal.AsBytes(data.AsSpan()).ToArray();
    }

    [GpuFact]
    public void A_graph_captured_once_follows_coverage_and_lengths_bit_for_bit()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using TokenSparsePrefill pipeline = TokenSparsePrefill.Create(device, new() { Coverage = 0.5, MinTokens = 64 });
        using CudaTensor<BFloat16> query = Normal(device, Heads, 1), key = Normal(device, KeyValueHeads, 2), value = Normal(device, KeyValueHeads, 3);
        using CudaTensor<BFloat16> output = CudaTensor.AllocateBhld<BFloat16>(device, Batch, Heads, Length, Dim);
        using CudaTensor<float> logSumExp = CudaTensor.Allocate<float>(device, Batch, Heads, Length);
        using CudaTensor<int> lengths = CudaTensor.From<int>(device, Length, Length);
        using var selection = new CudaTokenSelection(device, Batch, Heads, Length);
        using var stream = new CudaStream(device);
        var arguments = new CudaAttentionArguments<BFloat16, BFloat16>
        {
            Query = query, Key = key, Value = value, Output = output, LogSumExp = logSumExp, KeyLengths = lengths,
            Selection = selection,
        };
        void Run() => pipeline.Run(in arguments, stream);
        Run();
        using CudaGraph graph = CudaGraph.Capture(stream, Run);
        var random = new Random(20260203);
        var kept = new HashSet<int>();
        for (int replay = 0; replay < 100; replay++)
        {
            lengths.CopyFrom([random.Next(1, Length + 1), random.Next(1, Length + 1)], stream);
            if (replay % 4 != 3) // every fourth replay follows the lengths alone
            {
                pipeline.Configure(new() { Coverage = random.NextDouble(), MinTokens = 64 });
                graph.Update(stream, Run);
            }
            output.FillBytes(0xFF, stream);
            logSumExp.FillBytes(0xFF, stream);
            graph.Launch(stream);
            (byte[] rows, byte[] sums) = (Bytes(output, stream), Bytes(logSumExp, stream));
            var counts = new int[Batch * Heads];
            selection.KeyCounts.CopyTo(counts, stream);
            kept.Add(counts[0]);

            output.FillBytes(0xFF, stream);
            logSumExp.FillBytes(0xFF, stream);
            Run();
            Assert.True(rows.AsSpan().SequenceEqual(Bytes(output, stream)), $"output of replay {replay}");
            Assert.True(sums.AsSpan().SequenceEqual(Bytes(logSumExp, stream)), $"log-sum-exp of replay {replay}");
        }
        Assert.True(kept.Count > 50, $"{kept.Count} different counts in 100 replays");
    }

    [GpuFact]
    public void Work_that_no_graph_can_hold_ends_the_capture_and_the_stream_is_usable()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using DenseAttention pipeline = DenseAttention.Create(device);
        using CudaTensor<BFloat16> query = Normal(device, Heads, 1), key = Normal(device, KeyValueHeads, 2);
        using CudaTensor<BFloat16> output = CudaTensor.AllocateBhld<BFloat16>(device, Batch, Heads, Length, Dim);
        using var stream = new CudaStream(device);
        var arguments = new CudaAttentionArguments<BFloat16, BFloat16> { Query = query, Key = key, Value = key, Output = output };
        void Run() => pipeline.Run(in arguments, stream);
        var refused = Assert.Throws<InvalidOperationException>(() => CudaGraph.Capture(stream, Run));
        Assert.Contains("Run the pipeline once", refused.Message, StringComparison.Ordinal);
        Run();
        byte[] expected = Bytes(output, stream);
        foreach (Action work in (Action[])[stream.Synchronize, () => CudaTensor.Allocate<int>(device, 1000)])
        {
            Assert.Throws<CudaException>(() => CudaGraph.Capture(stream, () =>
            {
                Run();
                work();
            }));
            Assert.False(stream.IsCapturing);
            Assert.Null(device.Fault);
            output.FillBytes(0xFF, stream);
            Run();
            Assert.Equal(expected, Bytes(output, stream));
        }
        using CudaGraph graph = CudaGraph.Capture(stream, Run);
        Assert.Throws<InvalidOperationException>(() => graph.Update(stream, () =>
        {
            Run();
            Run();
        }));
        output.FillBytes(0xFF, stream);
        graph.Launch(stream);
        Assert.Equal(expected, Bytes(output, stream));
    }

    [GpuFact]
    public void A_warm_pipeline_compiles_nothing_at_its_first_run()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using TokenSparsePrefill pipeline = TokenSparsePrefill.Create(device);
        var told = new List<WarmupProgress>();
        KernelVariant[] variants = [new(Dim, ElementType.BFloat16), new(64, ElementType.BFloat16), new(64, ElementType.Float16, ElementType.Float32)];
        pipeline.Warmup(variants, new Progress(told));
        Assert.Equal([1, 2, 3], told.Select(progress => progress.Done));
        long compilations = KernelCache.Default.Compilations;
        using CudaTensor<BFloat16> query = Normal(device, Heads, 1), key = Normal(device, KeyValueHeads, 2);
        using CudaTensor<BFloat16> output = CudaTensor.AllocateBhld<BFloat16>(device, Batch, Heads, Length, Dim);
        pipeline.Run(query, key, key, output);
        device.Synchronize();
        Assert.Equal(compilations, KernelCache.Default.Compilations);
    }

    /// <summary>Keeps what it is told, at once and on the thread that tells it.</summary>
    private sealed class Progress(List<WarmupProgress> told) : IProgress<WarmupProgress>
    {
        public void Report(WarmupProgress value) => told.Add(value);
    }
}
