using System.Diagnostics;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Samples;

/// <summary>
/// Times of the samples' rules, and of block lists, on GPU 0 beside dense attention: bfloat16, head dim 128, 32 query and 8
/// key/value heads, N(0,1). benchmarks/rule_peers.py times FlexAttention with the same.
/// </summary>
internal static class Timing
{
    private const int Heads = 32, KeyHeads = 8, Dim = 128, Window = 4096, Parts = 8, Samples = 7;
    private const double MillisecondsOfSample = 60;

    /// <summary>Tokens of the documents, by turns.</summary>
    private static readonly int[] s_documents = [1024, 6144, 2048, 4096, 3072, 8192];

    /// <summary>Prints a line a rule.</summary>
    public static void PrintRules(int length)
    {
        using var device = AttentionDevice.Cuda(0);
        using var beside = new BesideDense(device, length);
        (CudaTensor<BFloat16> query, CudaTensor<BFloat16> key, CudaTensor<BFloat16> value, CudaTensor<BFloat16> output) = beside.Tensors;
        int[] document = Documents(length);
        using CudaTensor<int> documents = CudaTensor.From<int>(device, document), prefixes = CudaTensor.From<int>(device, length / 4);
        using CudaTensor<float> slopes = CudaTensor.From<float>(device, AlibiAttention.Slopes(Heads));
        using CudaTensor<float> sinks = CudaTensor.From<float>(device, new float[Heads]);
        using CudaTensor<float> bias = CudaTensor.From<float>(device, new float[Heads * RelativeBiasAttention.Buckets]);
        double causal = length * (length + 1.0) / 2;

        beside.Print(AlibiAttention.Create(device), "ALiBi", causal, p => p.Run(query, key, value, output, slopes));
        beside.Print(SoftCapAttention.Create(device, new() { Cap = 20 }), "soft-cap", causal, p => p.Run(query, key, value, output));
        beside.Print(FastSoftCapAttention.Create(device, new() { Cap = 20 }), "soft-cap, fast", causal, p => p.Run(query, key, value, output));
        beside.Print(
            SlidingWindowAttention.Create(device, new() { Window = Window }), "sliding window",
            Enumerable.Range(0, length).Sum(q => (double)Math.Min(q + 1, Window)), p => p.Run(query, key, value, output));
        beside.Print(
            PrefixAttention.Create(device), "prefix LM", Enumerable.Range(0, length).Sum(q => (double)Math.Max(q + 1, length / 4)),
            p => p.Run(query, key, value, output, prefixes));
        beside.Print(
            PackedAttention.Create(device), "documents", document.CountBy(d => d).Sum(d => d.Value * (d.Value + 1.0) / 2),
            p => p.Run(query, key, value, output, documents));

        // What the mask itself costs: the tiles of equal documents in one sequence, and the same tiles as sequences of one call.
        int part = length / Parts;
        double pairs = Parts * (part * (part + 1.0) / 2);
        using CudaTensor<int> parts = CudaTensor.From<int>(device, [.. Enumerable.Range(0, length).Select(i => i / part)]);
        beside.Print(PackedAttention.Create(device), $"{Parts} equal documents", pairs, p => p.Run(query, key, value, output, parts));
        beside.Print(
            DenseAttention.Create(device), $"dense, batch of {Parts}", pairs, p => p.Run(Part(query), Part(key), Part(value), Part(output)));
        beside.Print(SinkAttention.Create(device), "sinks", causal, p => p.Run(query, key, value, output, sinks));
        beside.Print(RelativeBiasAttention.Create(device), "relative bias", causal, p => p.Run(query, key, value, output, bias));
    }

    // [1, heads, length, dim] as [Parts, heads, length / Parts, dim], in the same memory.
    private static CudaTensor<BFloat16> Part(CudaTensor<BFloat16> whole)
    {
        nint heads = whole.Lengths[1], length = whole.Lengths[2];
        return CudaTensor.View<BFloat16>(
            whole.Device, whole.Pointer, [Parts, heads, length / Parts, Dim], [length / Parts * Dim, length * Dim, Dim, 1]);
    }

    /// <summary>Prints a line a block list, the same for all heads.</summary>
    public static void PrintBlocks(int length)
    {
        const int block = 128;
        using var device = AttentionDevice.Cuda(0);
        using var beside = new BesideDense(device, length);
        (CudaTensor<BFloat16> query, CudaTensor<BFloat16> key, CudaTensor<BFloat16> value, CudaTensor<BFloat16> output) = beside.Tensors;
        foreach ((string name, Func<int, int, int, bool> visits) in BlockPatterns.All)
        {
            using CudaBlockMask mask = Mask(block, visits, out double pairs);
            beside.Print(BlockSparse.Create(device), name, pairs, p => p.Run(Arguments(mask)));
            if (name == "eight a row")
                continue;
            using CudaBlockMask narrow = Mask(block / 2, visits, out pairs);
            beside.Print(NarrowBlocks.Create(device), name + ", 64", pairs, p => p.Run(Arguments(narrow)));
        }

        CudaAttentionArguments<BFloat16, BFloat16> Arguments(CudaBlockMask blocks) =>
            new() { Query = query, Key = key, Value = value, Output = output, Blocks = blocks };

        CudaBlockMask Mask(int blockQuery, Func<int, int, int, bool> visits, out double pairs)
        {
            int rows = length / blockQuery, columns = length / block;
            var visit = new bool[rows * columns];
            pairs = 0;
            for (int row = 0; row < rows; row++)
            {
                int diagonal = row * blockQuery / block;
                for (int column = 0; column <= diagonal; column++)
                {
                    visit[row * columns + column] = column == diagonal || visits(row, column, diagonal - column);
                    if (visit[row * columns + column])
                        pairs += column < diagonal ? blockQuery * block : blockQuery * (row * blockQuery % block + (blockQuery + 1) / 2.0);
                }
            }
            return CudaBlockMask.From(device, BlockMask.FromDense(visit, 1, 1, length, length, blockQuery, block));
        }
    }

    /// <summary>Times pipelines, and after each of them dense attention, both in a row, so that each has the clocks that it leaves itself.</summary>
    private sealed class BesideDense(CudaDevice device, int length) : IDisposable
    {
        private readonly DenseAttention _dense = DenseAttention.Create(device);
        private readonly CudaTensor<BFloat16> _query = Normal(device, Heads, length), _key = Normal(device, KeyHeads, length);
        private readonly CudaTensor<BFloat16> _value = Normal(device, KeyHeads, length);
        private readonly CudaTensor<BFloat16> _output = CudaTensor.AllocateBhld<BFloat16>(device, 1, Heads, length, Dim);

        public (CudaTensor<BFloat16> Query, CudaTensor<BFloat16> Key, CudaTensor<BFloat16> Value, CudaTensor<BFloat16> Output) Tensors =>
            (_query, _key, _value, _output);

        /// <summary>The median time of a call, the pairs that count as TFLOP/s, and that as a share of dense attention's.</summary>
        public void Print<T>(T pipeline, string name, double pairs, Action<T> call) where T : ICudaAttentionPipeline
        {
            using T used = pipeline;
            double ms = Median(() => call(used)), rate = pairs / ms, denseMs = Median(() => _dense.Run(_query, _key, _value, _output));
            double share = rate / (length * (length + 1.0) / 2 / denseMs);
            Console.WriteLine(
                $"{name,-20} {ms,8:0.000} ms {4 * rate * Heads * Dim / 1e9,5:0} TFLOP/s {share,6:0.0 %} of dense, {denseMs,8:0.000} ms");
        }

        public void Dispose()
        {
            _dense.Dispose();
            _query.Dispose();
            _key.Dispose();
            _value.Dispose();
            _output.Dispose();
        }

        // Of a call, in a row of as many as the first one says.
        private double Measure(Action call)
        {
            double first = Calls(call, 1);
            return first >= MillisecondsOfSample ? first : Calls(call, (int)Math.Ceiling(MillisecondsOfSample / first));
        }

        private double Calls(Action call, int count)
        {
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < count; i++)
                call();
            device.DefaultStream.Synchronize();
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds / count;
        }

        private double Median(Action call)
        {
            Measure(call);
            return Enumerable.Range(0, Samples).Select(_ => Measure(call)).Order().ElementAt(Samples / 2);
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
