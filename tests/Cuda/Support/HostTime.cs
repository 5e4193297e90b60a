using System.Diagnostics;
using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests;

/// <summary>
/// Time that a call takes on the host, from its beginning to its return: nothing waits for the device, which is let catch up
/// between calls, so that no full queue is measured.
/// </summary>
internal static class HostTime
{
    private const int Calls = 2000, Batch = 20;

    /// <summary>Until the runtime has compiled what is called often for good.</summary>
    private static readonly TimeSpan s_warm = TimeSpan.FromSeconds(0.7);

    public static int Measure()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        Console.WriteLine($"{device.Description}; microseconds of {Calls} calls, 8 of 2 heads, 512 tokens, head dim 128, bf16");
        Console.WriteLine($"{"",-22}{"",-20}{"p50",8}{"p90",8}{"p99",8}{"max",10}");
        MeasureLaunch(device);
        using (DenseAttention dense = DenseAttention.Create(device))
            Measure(device, dense, "dense-attention");
        using (TokenSparsePrefill sparse = TokenSparsePrefill.Create(device, new() { MinTokens = 64 }))
            Measure(device, sparse, "token-sparse-prefill");
        return 0;
    }

    private static void Measure(CudaDevice device, ICudaAttentionPipeline pipeline, string name)
    {
        const int Sets = 8;
        CudaTensor<BFloat16>[] tensors = [.. Enumerable.Range(0, 4 * Sets).Select(i =>
            CudaTensor.AllocateBhld<BFloat16>(device, 1, i % 4 is 1 or 2 ? 2 : 8, 512, 128))];
        foreach (CudaTensor<BFloat16> tensor in tensors)
            tensor.FillBytes(0);
        CudaStream stream = device.DefaultStream;
        void Run(int set) => pipeline.Run(new CudaAttentionArguments<BFloat16, BFloat16>
        {
            Query = tensors[4 * set], Key = tensors[4 * set + 1], Value = tensors[4 * set + 2], Output = tensors[4 * set + 3],
        }, stream);
        Run(0);
        using CudaGraph graph = CudaGraph.Capture(stream, () => Run(0));
        Action first = () => Run(0), second = () => Run(1);
        Print(device, name, "same tensors", _ => Run(0));
        Print(device, name, "changed pointers", i => Run(i % Sets));
        Print(device, name, "graph", _ => graph.Launch(stream));
        Print(device, name, "graph update", i => graph.Update(stream, i % 2 == 0 ? first : second));
        foreach (CudaTensor<BFloat16> tensor in tensors)
            tensor.Dispose();
    }

    /// <summary>One launch of a kernel that does next to nothing: what the driver costs.</summary>
    private static void MeasureLaunch(CudaDevice device)
    {
        using var module = new CudaModule(device, KernelCompiler.Compile(Sources.Scale, new() { Architecture = device.Architecture }));
        CudaKernel kernel = module.Kernel("scale");
        using CudaTensor<float> data = CudaTensor.Allocate<float>(device, 128);
        using var arguments = new KernelArguments();
        arguments.Add(data.Pointer);
        arguments.Add(128);
        Print(device, "scale", "one launch", _ => kernel.Launch(new LaunchGrid(1, 1, 1), arguments, device.DefaultStream));
    }

    private static void Sample(CudaDevice device, Action<int> call, double[] times)
    {
        for (int i = 0; i < times.Length; i++)
        {
            if (i % Batch == 0)
                device.Synchronize();
            long begin = Stopwatch.GetTimestamp();
            call(i);
            times[i] = Stopwatch.GetElapsedTime(begin).TotalMicroseconds;
        }
        device.Synchronize();
    }

    private static void Print(CudaDevice device, string pipeline, string what, Action<int> call)
    {
        var times = new double[Calls];
        for (long begin = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(begin) < s_warm;)
            Sample(device, call, times);
        Sample(device, call, times);
        Array.Sort(times);
        double At(double share) => times[(int)(share * (Calls - 1))];
        Console.WriteLine($"{pipeline,-22}{what,-20}{At(0.5),8:0.0}{At(0.9),8:0.0}{At(0.99),8:0.0}{times[^1],10:0.0}");
    }
}
