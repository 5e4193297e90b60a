namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>The bindings on a real device: memory, modules, launches, graphs, errors.</summary>
public sealed class GpuTests
{
    private static CudaModule Load(CudaDevice device) =>
        new(device, KernelCompiler.Compile(Sources.Scale, new() { Architecture = device.Architecture }));

    private static void Scale(CudaKernel kernel, CudaTensor<float> data, CudaStream stream)
    {
        using var arguments = new KernelArguments();
        arguments.Add(data.Pointer);
        arguments.Add((int)data.Count);
        var grid = new LaunchGrid((int)((data.Count + kernel.Shape.Tile - 1) / kernel.Shape.Tile), 1, 1);
        kernel.Launch(in grid, arguments, stream);
    }

    [GpuFact]
    public void The_device_describes_itself()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        Assert.True(device.ComputeCapability.Major >= 8);
        Assert.True(device.MultiprocessorCount > 0);
        Assert.True(device.TotalMemory > 1L << 30);
        Assert.True(device.MaxSharedBytes >= 96 * 1024);
        Assert.NotEmpty(device.Model);
        Assert.Throws<CudaUnavailableException>(() => AttentionDevice.Cuda(1000));
    }

    [GpuFact]
    public void A_kernel_runs_and_its_launch_shape_is_read_from_the_device()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using CudaModule module = Load(device);
        CudaKernel kernel = module.Kernel("scale");
        Assert.Equal(new LaunchShape(128, 128, 0), kernel.Shape);
        Assert.True(kernel.RegistersPerThread > 0);
        float[] numbers = [.. Enumerable.Range(0, 1000).Select(i => (float)i)];
        using CudaTensor<float> data = CudaTensor.From<float>(device, numbers);
        Scale(kernel, data, device.DefaultStream);
        var result = new float[numbers.Length];
        data.CopyTo(result);
        Assert.Equal(numbers.Select(x => 2 * x), result);
    }

    [GpuFact]
    public void Arguments_that_the_kernel_does_not_take_are_noticed_before_the_launch()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using CudaModule module = Load(device);
        using CudaTensor<float> data = CudaTensor.Allocate<float>(device, 128);
        using var arguments = new KernelArguments();
        arguments.Add(data.Pointer);
        var e = Assert.Throws<InvalidOperationException>(
            () => module.Kernel("scale").Launch(new LaunchGrid(1, 1, 1), arguments, device.DefaultStream));
        Assert.Contains("argument 1", e.Message, StringComparison.Ordinal);
    }

    [GpuFact]
    public void A_captured_graph_runs_each_time_it_is_launched()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using CudaModule module = Load(device);
        CudaKernel kernel = module.Kernel("scale");
        using var stream = new CudaStream(device);
        using CudaTensor<float> data = CudaTensor.From<float>(device, 1, 2, 3);
        using CudaGraph graph = CudaGraph.Capture(stream, () => Scale(kernel, data, stream));
        var result = new float[3];
        data.CopyTo(result, stream);
        Assert.Equal([1f, 2f, 3f], result); // capturing runs nothing
        for (int i = 0; i < 3; i++)
            graph.Launch(stream);
        data.CopyTo(result, stream);
        Assert.Equal([8f, 16f, 24f], result);
    }

    [GpuFact]
    public void Events_order_streams_and_measure_time()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using CudaModule module = Load(device);
        CudaKernel kernel = module.Kernel("scale");
        using var first = new CudaStream(device);
        using var second = new CudaStream(device);
        using var begin = new CudaEvent(device);
        using var end = new CudaEvent(device);
        using CudaTensor<float> data = CudaTensor.Allocate<float>(device, 1 << 22);
        data.FillBytes(0, first);
        begin.Record(first);
        for (int i = 0; i < 20; i++)
            Scale(kernel, data, first);
        end.Record(first);
        second.Wait(end);
        var result = new float[1 << 22];
        data.CopyTo(result, second);
        Assert.DoesNotContain(result, x => x != 0);
        Assert.True(end.MillisecondsSince(begin) > 0);
    }

    [GpuFact]
    public void More_memory_than_there_is_is_refused_and_the_device_lives_on()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        var e = Assert.Throws<CudaException>(() => CudaTensor.Allocate<byte>(device, (nint)(2 * device.TotalMemory)));
        Assert.Equal(CudaResult.OutOfMemory, e.Result);
        Assert.Equal("CUDA_ERROR_OUT_OF_MEMORY", e.Name);
        Assert.Null(device.Fault);
        using CudaTensor<int> small = CudaTensor.From<int>(device, 7);
        var back = new int[1];
        small.CopyTo(back);
        Assert.Equal(7, back[0]);
    }

    [GpuFact]
    public void Strided_and_foreign_views_address_the_same_memory()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        int[] numbers = [.. Enumerable.Range(0, 64)];
        using CudaTensor<int> whole = CudaTensor.From<int>(device, numbers);
        CudaTensor<int> foreign = CudaTensor.View<int>(device, whole.Pointer + 4 * 16, [16], [1]);
        var back = new int[16];
        foreign.CopyTo(back);
        Assert.Equal(Enumerable.Range(16, 16), back);
        whole.View(32, [16], [1]).CopyTo(back);
        Assert.Equal(Enumerable.Range(32, 16), back);
    }

    [GpuFact]
    public void The_doctor_sees_the_device()
    {
        CudaReport report = CudaDoctor.Examine();
        Assert.True(report.CanRun);
        Assert.NotNull(report.Driver.Version);
        Assert.Contains(report.Gpus, gpu => gpu.IsSupported && gpu.Multiprocessors > 0);
    }
}
