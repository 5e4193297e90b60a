using System.Diagnostics;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Samples;

/// <summary>
/// Times of the samples' rules on GPU 0 beside dense attention: bfloat16, head dim 128, 32 query and 8 key/value heads, N(0,1).
/// benchmarks/rule_peers.py times FlexAttention with the same rules.
/// </summary>
internal static class Timing
{
    private const int Heads = 32, KeyHeads = 8, Dim = 128, Window = 4096, Samples = 7, CallsOfSample = 5;

    /// <summary>Tokens of the documents, by turns.</summary>
    private static readonly int[] s_documents = [1024, 6144, 2048, 4096, 3072, 8192];

    /// <summary>Prints a line a pipeline: the median time of a call, and the pairs that its rule leaves, as TFLOP/s.</summary>
    public static void Print(int length)
    {
        using var device = AttentionDevice.Cuda(0);
        using CudaTensor<BFloat16> query = Normal(device, Heads, length), key = Normal(device, KeyHeads, length), value = Normal(device, KeyHeads, length);
        using CudaTensor<BFloat16> output = CudaTensor.AllocateBhld<BFloat16>(device, 1, Heads, length, Dim);
        int[] document = Documents(length);
        using CudaTensor<int> documents = CudaTensor.From<int>(device, document), prefixes = CudaTensor.From<int>(device, length / 4);
        using CudaTensor<float> slopes = CudaTensor.From<float>(device, AlibiAttention.Slopes(Heads));
        using CudaTensor<float> sinks = CudaTensor.From<float>(device, new float[Heads]);
        using CudaTensor<float> bias = CudaTensor.From<float>(device, new float[Heads * RelativeBiasAttention.Buckets]);
        double causal = length * (length + 1.0) / 2;

        Measure(DenseAttention.Create(device), "dense", causal, p => p.Run(query, key, value, output));
        Measure(AlibiAttention.Create(device), "ALiBi", causal, p => p.Run(query, key, value, output, slopes));
        Measure(SoftCapAttention.Create(device, new() { Cap = 20 }), "soft-cap", causal, p => p.Run(query, key, value, output));
        Measure(FastSoftCapAttention.Create(device, new() { Cap = 20 }), "soft-cap, fast", causal, p => p.Run(query, key, value, output));
        Measure(
            SlidingWindowAttention.Create(device, new() { Window = Window }), "sliding window",
            Enumerable.Range(0, length).Sum(q => (double)Math.Min(q + 1, Window)), p => p.Run(query, key, value, output));
        Measure(
            PrefixAttention.Create(device), "prefix LM", Enumerable.Range(0, length).Sum(q => (double)Math.Max(q + 1, length / 4)),
            p => p.Run(query, key, value, output, prefixes));
        Measure(
            PackedAttention.Create(device), "documents", document.CountBy(d => d).Sum(d => d.Value * (d.Value + 1.0) / 2),
            p => p.Run(query, key, value, output, documents));
        Measure(SinkAttention.Create(device), "sinks", causal, p => p.Run(query, key, value, output, sinks));
        Measure(RelativeBiasAttention.Create(device), "relative bias", causal, p => p.Run(query, key, value, output, bias));

        void Measure<T>(T pipeline, string name, double pairs, Action<T> call) where T : ICudaAttentionPipeline
        {
            using T used = pipeline;
            for (int i = 0; i < 3; i++)
                call(used);
            device.DefaultStream.Synchronize();
            var samples = new double[Samples];
            for (int sample = 0; sample < Samples; sample++)
            {
                long start = Stopwatch.GetTimestamp();
                for (int i = 0; i < CallsOfSample; i++)
                    call(used);
                device.DefaultStream.Synchronize();
                samples[sample] = Stopwatch.GetElapsedTime(start).TotalMilliseconds / CallsOfSample;
            }
            double median = samples.Order().ElementAt(Samples / 2);
            Console.WriteLine($"{name,-16} {median,8:0.000} ms {4 * pairs * Heads * Dim / median / 1e9,6:0} TFLOP/s of the pairs that count");
        }
    }

    /// <summary>Number of the document of each token.</summary>
    public static int[] Documents(int length)
    {
        var document = new int[length];
        for (int number = 0, begin = 0; begin < length; begin += s_documents[number++ % s_documents.Length])
            document.AsSpan(begin).Fill(number);
        return document;
    }

    private static CudaTensor<BFloat16> Normal(CudaDevice device, int heads, int length)
    {
        var random = new Random(heads);
        var some = new BFloat16[1 << 20];
        for (int i = 0; i < some.Length; i++)
            some[i] = (BFloat16)(float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        var data = new BFloat16[heads * length * Dim];
        for (int begin = 0; begin < data.Length; begin += some.Length)
            some.AsSpan(0, Math.Min(some.Length, data.Length - begin)).CopyTo(data.AsSpan(begin));
        return CudaTensor.FromBhld<BFloat16>(device, data, 1, heads, length, Dim);
    }
}
