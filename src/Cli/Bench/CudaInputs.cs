using System.Text;
using AttnCompose.Cuda;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cli.Bench;

/// <summary>
/// Sets of N(0,1) tensors on a device, so many that a pass over all of them leaves nothing of a set in the L2 cache.
/// </summary>
internal sealed class CudaInputs<T> : IDisposable
    where T : unmanaged
{
    private const int MostSets = 16;
    private const int CachesToFill = 4;

    private readonly List<CudaAttentionArguments<T, T>> _sets = [];

    /// <param name="device">The device.</param>
    /// <param name="problem">Sizes.</param>
    /// <param name="keyDeviation">Standard deviation of the keys: 0 makes all scores equal, a large one few heavy.</param>
    public CudaInputs(CudaDevice device, BenchCase problem, double keyDeviation)
    {
        Device = device;
        var normal = new NormalFill(device, problem.Element);
        int sets = (int)Math.Clamp(CachesToFill * CacheBytes(device) / Math.Max(1, TensorBytes(problem)) + 1, 1, MostSets);
        try
        {
            for (int i = 0; i < sets; i++)
            {
                CudaTensor<T> Tensor(int heads) =>
                    CudaTensor.AllocateBhld<T>(device, 1, heads, problem.Length, problem.HeadDim);
                var set = new CudaAttentionArguments<T, T>
                {
                    Query = Tensor(problem.Heads),
                    Key = Tensor(problem.KeyValueHeads),
                    Value = Tensor(problem.KeyValueHeads),
                    Output = Tensor(problem.Heads),
                    Layer = new(0, 1),
                };
                _sets.Add(set);
                normal.Fill(set.Query, seed: 3 * i + 1, deviation: 1);
                normal.Fill(set.Key, seed: 3 * i + 2, keyDeviation);
                normal.Fill(set.Value, seed: 3 * i + 3, deviation: 1);
            }
            device.DefaultStream.Synchronize();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public CudaDevice Device { get; }

    public int Count => _sets.Count;

    public CudaAttentionArguments<T, T> this[int set] => _sets[set];

    /// <summary>Bytes of the last-level cache.</summary>
    public static long CacheBytes(CudaDevice device)
    {
        CudaResult result = device.Context.Driver.GetDeviceAttribute(
            out int bytes, DeviceAttribute.L2CacheBytes, device.Context.Device);
        device.Context.Check(result, "cuDeviceGetAttribute");
        return bytes;
    }

    /// <summary>Bytes of one set.</summary>
    public static long TensorBytes(BenchCase problem) =>
        2L * (problem.Heads + problem.KeyValueHeads) * problem.Length * problem.HeadDim * BenchCase.ElementBytes(problem.Element);

    public void Dispose()
    {
        foreach (CudaAttentionArguments<T, T> set in _sets)
        {
            set.Query.Dispose();
            set.Key.Dispose();
            set.Value.Dispose();
            set.Output.Dispose();
        }
        _sets.Clear();
    }
}

/// <summary>Normally distributed numbers, made on the device by <c>random_normal.cu</c>.</summary>
internal sealed class NormalFill
{
    private const string Entry = "random_normal";
    private const int ChunkBytes = 16;
    private const int BlocksPerMultiprocessor = 8;

    private readonly CudaDevice _device;
    private readonly CudaKernel _kernel;

    public NormalFill(CudaDevice device, ElementType element)
    {
        _device = device;
        var options = new CompileOptions { Architecture = device.Architecture, Element = element };
        PreparedKernel prepared = KernelCache.Default.Prepare(new KernelSource(Entry, Text(), []), options);
        _kernel = device.Module(prepared.Key, KernelCache.Default.GetOrCompile(prepared)).Kernel(Entry);
    }

    /// <summary>Puts the numbers of a seed into a tensor without gaps; the stream does not wait for it.</summary>
    public unsafe void Fill<T>(CudaTensor<T> tensor, int seed, double deviation)
        where T : unmanaged
    {
        long bytes = tensor.Count * sizeof(T);
        if (bytes % ChunkBytes != 0)
            throw new ArgumentException($"{tensor} does not divide into {ChunkBytes} bytes.", nameof(tensor));
        using var arguments = new KernelArguments();
        arguments.Add(tensor.Pointer);
        arguments.Add(bytes / ChunkBytes);
        arguments.Add((ulong)seed << 40);
        arguments.Add((float)deviation);
        var grid = new LaunchGrid(_device.MultiprocessorCount * BlocksPerMultiprocessor, 1, 1);
        _kernel.Launch(in grid, arguments, _device.DefaultStream);
    }

    private static string Text()
    {
        using Stream stream = typeof(NormalFill).Assembly.GetManifestResourceStream(Entry + ".cu")!;
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
