namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>Every call of the driver fails once, in every place: each failure ends in a typed error, and nothing is lost.</summary>
public sealed class FaultTests
{
    private const int Heads = 4, Length = 20, Dim = 64;

    private static KernelCache Cache(Func<PreparedKernel, CompiledKernel>? compile = null) => new(
        new CudaSettings { UseCache = false },
        compile ?? (p => new CompiledKernel(p.Source.Name, p.Options.Architecture, "12.4", new byte[] { 1 }, "")), () => "fake");

    private static FakeDriver Driver()
    {
        var driver = new FakeDriver();
        FakePipeline.Install<Half, Half>(driver, x => (float)x, x => (Half)x);
        return driver;
    }

    /// <summary>
    /// All that a program does with a device: tensors, calls, also as graphs, a larger call, host memory, a graph, an event.
    /// </summary>
    private static void UseEverything(CudaDevice device, FakePipeline pipeline)
    {
        device.Tuning = new() { GraphKernels = 2 };
        using var stream = new CudaStream(device);
        foreach (int batch in new[] { 1, 2 })
        {
            Half[] data = [.. Enumerable.Range(0, batch * Heads * Length * Dim).Select(i => (Half)(i % 100))];
            using CudaTensor<Half> query = CudaTensor.FromBhld<Half>(device, data, batch, Heads, Length, Dim);
            using CudaTensor<Half> output = CudaTensor.AllocateBhld<Half>(device, batch, Heads, Length, Dim);
            using var selection = new CudaTokenSelection(device, batch, Heads, Length);
            var arguments = new CudaAttentionArguments<Half, Half>
            {
                Query = query, Key = query, Value = query, Output = output, Scale = 1, Selection = selection,
            };
            void Run() => pipeline.Run(in arguments, stream);
            Run();
            arguments = arguments with { Selection = null };
            for (int i = 0; i < 3; i++)
                Run();
            output.FillBytes(0xFF, stream);
            using (CudaGraph graph = CudaGraph.Capture(stream, Run))
            {
                graph.Update(stream, Run);
                graph.Launch(stream);
            }
            var back = new Half[data.Length];
            output.CopyTo(back, stream);
            Assert.Equal(data, back);

            Array.Clear(back);
            var chosen = new TokenSelection();
            ((IAttentionPipeline)pipeline).Run(new AttentionArguments<Half, Half>
            {
                Query = AttentionTensor.FromBhld<Half>(data, batch, Heads, Length, Dim),
                Key = AttentionTensor.FromBhld<Half>(data, batch, Heads, Length, Dim),
                Value = AttentionTensor.FromBhld<Half>(data, batch, Heads, Length, Dim),
                Output = AttentionTensor.FromBhld<Half>(back.AsSpan(), batch, Heads, Length, Dim),
                Scale = 1,
                Selection = chosen,
            });
            Assert.Equal(data, back);
            Assert.Equal(Length / 2, chosen.KeyCount(batch - 1, 0));
        }
        using var mark = new CudaEvent(device);
        mark.Record(stream);
        stream.Wait(mark);
        mark.Synchronize();
        device.Synchronize();
    }

    /// <summary>Fails one counted call after the other, until none is left to fail.</summary>
    /// <returns>Calls that failed.</returns>
    private static int FailEach(CudaResult failure, Func<string, bool> counts)
    {
        for (int n = 1; ; n++)
        {
            FakeDriver driver = Driver();
            (driver.CountedFailure, driver.Counts, driver.FailingCall) = (failure, counts, n);
            string what = $"call {n} fails with {failure}";
            CudaDevice? device = null;
            FakePipeline? pipeline = null;
            try
            {
                device = new CudaDevice(driver, 0);
                pipeline = new FakePipeline(device, FakePipeline.Selecting, Cache());
                UseEverything(device, pipeline);
                if (driver.FailingCall > 0)
                    return n - 1;
                // It was a call that gives something back; what is lost there is the driver's.
                Assert.Contains(driver.Calls, call => call.Contains("Destroy", StringComparison.Ordinal)
                    || call.Contains("Free", StringComparison.Ordinal) || call.Contains("Release", StringComparison.Ordinal));
            }
            catch (Exception e) when (e is CudaException or CudaUnavailableException)
            {
                Assert.True(driver.FailingCall == 0, $"{what}: {e}");
                if (e is CudaException typed)
                    Assert.Equal(failure, typed.Result);
                Assert.Null(device?.Fault);
                if (pipeline is not null)
                    UseEverything(device!, pipeline); // as if nothing had happened
            }
            pipeline?.Dispose();
            device?.Dispose();
            Assert.True(driver.Allocations.Count == 0, $"{what}: {driver.Allocations.Count} blocks of memory were not freed");
            Assert.True(driver is { Open: 0, Retained: 0 }, $"{what}: {driver.Open} handles were not given back");
        }
    }

    [Fact]
    public void Out_of_memory_at_each_allocation_is_typed_and_leaks_nothing()
    {
        int failed = FailEach(CudaResult.OutOfMemory, call => call == "MemoryAllocate");
        Assert.True(failed >= 10, $"{failed} allocations");
    }

    [Fact]
    public void Each_call_of_the_driver_may_fail()
    {
        int failed = FailEach(CudaResult.InvalidValue, _ => true);
        Assert.True(failed >= 100, $"{failed} calls");
    }

    [Theory]
    [InlineData("Launch", CudaResult.LaunchFailed)]
    [InlineData("StreamSynchronize", CudaResult.IllegalAddress)]
    [InlineData("MemoryAllocate", CudaResult.EccUncorrectable)]
    [InlineData("GraphLaunch", CudaResult.LaunchTimeout)]
    [InlineData("StreamEndCapture", CudaResult.MisalignedAddress)]
    public void After_an_error_that_loses_the_context_everything_fails_at_once_with_the_first_cause(string call, CudaResult result)
    {
        FakeDriver driver = Driver();
        using (var device = new CudaDevice(driver, 0))
        using (var pipeline = new FakePipeline(device, FakePipeline.Selecting, Cache()))
        using (var stream = new CudaStream(device))
        using (var mark = new CudaEvent(device))
        using (CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(device, 1, Heads, Length, Dim))
        using (CudaTensor<Half> output = CudaTensor.AllocateBhld<Half>(device, 1, Heads, Length, Dim))
        {
            var arguments = new CudaAttentionArguments<Half, Half> { Query = tensor, Key = tensor, Value = tensor, Output = output };
            void Run() => pipeline.Run(in arguments, stream);
            Run();
            using CudaGraph graph = CudaGraph.Capture(stream, Run);
            driver.Failures[call] = result;
            var first = Assert.Throws<CudaException>(() => UseEverything(device, pipeline));
            Assert.Equal(result, first.Result);
            Assert.Same(first, device.Fault);
            driver.Failures.Clear();
            driver.Calls.Clear();
            Action[] all =
            [
                Run, stream.Synchronize, device.Synchronize, mark.Synchronize,
                () => CudaGraph.Capture(stream, Run), () => graph.Launch(stream), () => graph.Update(stream, Run),
                () => CudaTensor.Allocate<int>(device, 1), () => tensor.FillBytes(0), () => tensor.CopyTo(new Half[tensor.Count]),
                () => mark.Record(stream), () => stream.Wait(mark), () => new CudaStream(device), () => new CudaEvent(device),
                () => pipeline.Warmup([new KernelVariant(128, ElementType.Float16)]),
            ];
            foreach (Action each in all)
            {
                var later = Assert.Throws<CudaException>(each);
                Assert.Equal(result, later.Result);
                Assert.Same(first, later.InnerException);
            }
            Assert.Empty(driver.Calls); // nothing was tried
        }
        Assert.Empty(driver.Allocations);
        Assert.Equal((0, 0), (driver.Open, driver.Retained));
    }

    [Fact]
    public void A_driver_that_is_too_old_says_what_it_is_and_what_is_needed()
    {
        var e = Assert.Throws<CudaUnavailableException>(() => new CudaDevice(new FakeDriver { Version = 11_080 }, 0));
        Assert.Contains("CUDA 11.8", e.Message, StringComparison.Ordinal);
        Assert.Contains("12.0", e.Message, StringComparison.Ordinal);
        var mute = new FakeDriver { Failures = { ["DriverVersion"] = CudaResult.StubLibrary } };
        e = Assert.Throws<CudaUnavailableException>(() => new CudaDevice(mute, 0));
        Assert.Contains("StubLibrary", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, mute.Retained);
    }

    [Fact]
    public void A_compiler_that_fails_once_is_asked_again()
    {
        FakeDriver driver = Driver();
        Exception[] failures =
        [
            new NvrtcException(7, "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE", "nvrtcCompileProgram"),
            new KernelCompilationException("fake", "options", "log"),
            new CudaUnavailableException("NVRTC was not found."),
        ];
        int calls = 0;
        using var device = new CudaDevice(driver, 0);
        using var pipeline = new FakePipeline(device, FakePipeline.Selecting, Cache(p => calls < failures.Length
            ? throw failures[calls++]
            : new CompiledKernel(p.Source.Name, p.Options.Architecture, "12.4", new byte[] { 1 }, "")));
        foreach (Exception failure in failures)
            Assert.Same(failure, Record.Exception(() => UseEverything(device, pipeline)));
        UseEverything(device, pipeline);
    }

    [Fact]
    public void A_call_on_the_stream_of_another_device_is_refused_before_anything_is_launched()
    {
        var driver = new FakeDriver { Devices = 2 };
        (FakeKernel select, _) = FakePipeline.Install<Half, Half>(driver, x => (float)x, x => (Half)x);
        using var device = new CudaDevice(driver, 0);
        using var other = new CudaDevice(driver, 1);
        using var pipeline = new FakePipeline(device, FakePipeline.Selecting, Cache());
        using CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(device, 1, Heads, Length, Dim);
        using CudaTensor<Half> output = CudaTensor.AllocateBhld<Half>(device, 1, Heads, Length, Dim);
        using var stream = new CudaStream(other);
        var arguments = new CudaAttentionArguments<Half, Half> { Query = tensor, Key = tensor, Value = tensor, Output = output };
        var e = Assert.Throws<ArgumentException>(() => pipeline.Run(in arguments, stream));
        Assert.Contains("cuda:1", e.Message, StringComparison.Ordinal);
        using var selection = new CudaTokenSelection(other, 1, Heads, Length);
        e = Assert.Throws<ArgumentException>(() => pipeline.Run(arguments with { Selection = selection }));
        Assert.Contains("cuda:1", e.Message, StringComparison.Ordinal);
        Assert.Empty(select.Launches);
    }

    [Fact]
    public void What_was_disposed_says_so()
    {
        FakeDriver driver = Driver();
        using var device = new CudaDevice(driver, 0);
        using var pipeline = new FakePipeline(device, FakePipeline.Selecting, Cache());
        CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(device, 1, Heads, Length, Dim);
        using CudaTensor<Half> output = CudaTensor.AllocateBhld<Half>(device, 1, Heads, Length, Dim);
        var stream = new CudaStream(device);
        var mark = new CudaEvent(device);
        var arguments = new CudaAttentionArguments<Half, Half> { Query = tensor, Key = tensor, Value = tensor, Output = output };
        stream.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pipeline.Run(in arguments, stream));
        Assert.Throws<ObjectDisposedException>(stream.Synchronize);
        mark.Dispose();
        Assert.Throws<ObjectDisposedException>(() => mark.Record(device.DefaultStream));
        pipeline.Run(in arguments);
        tensor.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pipeline.Run(in arguments));
        Assert.Throws<ObjectDisposedException>(() => tensor.FillBytes(0));
        pipeline.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pipeline.Warmup([new KernelVariant(64, ElementType.Float16)]));
        Assert.Throws<ObjectDisposedException>(() => pipeline.Run(in arguments));
    }
}
