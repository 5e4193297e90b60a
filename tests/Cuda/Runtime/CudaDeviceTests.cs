using System.Runtime.CompilerServices;

namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class CudaDeviceTests
{
    private readonly FakeDriver _driver = new();

    [Fact]
    public void The_device_says_what_it_is()
    {
        using var device = new CudaDevice(_driver, 0);
        Assert.Equal("cuda:0", device.Name);
        Assert.Equal("Fake GPU, compute capability 9.0, 132 multiprocessors, 1.0 GiB", device.Description);
        Assert.Equal("sm_90a", device.Architecture);
    }

    [Fact]
    public void A_device_that_is_not_there_is_named()
    {
        var e = Assert.Throws<CudaUnavailableException>(() => new CudaDevice(_driver, 3));
        Assert.Contains("cuda:3", e.Message, StringComparison.Ordinal);
        Assert.Contains("has 1", e.Message, StringComparison.Ordinal);
        Assert.Throws<CudaUnavailableException>(() => new CudaDevice(new FakeDriver { Devices = 0 }, 0));
    }

    [Fact]
    public void The_context_is_released_after_all_that_was_made_on_it()
    {
        var device = new CudaDevice(_driver, 0);
        CudaTensor<float> tensor = CudaTensor.Allocate<float>(device, 10);
        var stream = new CudaStream(device);
        device.Dispose();
        Assert.Equal(1, _driver.Retained);
        Assert.Throws<ObjectDisposedException>(() => tensor.FillBytes(0));
        tensor.Dispose();
        stream.Dispose();
        Assert.Equal(0, _driver.Retained);
        Assert.Empty(_driver.Allocations);
        Assert.True(_driver.Calls.IndexOf("MemoryFree") < _driver.Calls.IndexOf("PrimaryContextRelease"));
        device.Dispose();
        tensor.Dispose();
    }

    [Fact]
    public void What_nobody_disposes_is_freed_by_the_finaliser_on_its_own_thread()
    {
        // The fake's current context is per thread, so a release without making the context current would be seen.
        Leak(_driver);
        for (int i = 0; i < 10 && _driver.Retained > 0; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.Equal(0, _driver.Retained);
        Assert.Empty(_driver.Allocations);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Leak(FakeDriver driver)
        {
            var device = new CudaDevice(driver, 0);
            CudaTensor.Allocate<float>(device, 100);
            GC.KeepAlive(new CudaStream(device));
        }
    }

    [Fact]
    public void A_release_that_fails_does_not_throw()
    {
        var device = new CudaDevice(_driver, 0);
        CudaTensor<float> tensor = CudaTensor.Allocate<float>(device, 10);
        _driver.Failures["MemoryFree"] = CudaResult.IllegalAddress;
        _driver.Failures["PrimaryContextRelease"] = CudaResult.Deinitialized;
        tensor.Dispose();
        device.Dispose();
        Assert.Equal(0, _driver.Retained);
    }

    [Fact]
    public void An_error_keeps_the_drivers_code_and_names_the_call()
    {
        using var device = new CudaDevice(_driver, 0);
        _driver.Failures["StreamSynchronize"] = CudaResult.InvalidHandle;
        var e = Assert.Throws<CudaException>(() => device.DefaultStream.Synchronize());
        Assert.Equal((CudaResult.InvalidHandle, "CUDA_ERROR_InvalidHandle", "cuStreamSynchronize"), (e.Result, e.Name, e.Call));
        Assert.Contains("(400)", e.Message, StringComparison.Ordinal);
        Assert.False(e.IsSticky);
        _driver.Failures.Clear();
        device.DefaultStream.Synchronize();
        Assert.Null(device.Fault);
    }

    [Fact]
    public void After_an_error_that_the_context_does_not_survive_every_call_fails_with_the_first_cause()
    {
        using var device = new CudaDevice(_driver, 0);
        CudaStream stream = device.DefaultStream;
        _driver.Failures["StreamSynchronize"] = CudaResult.IllegalAddress;
        var first = Assert.Throws<CudaException>(stream.Synchronize);
        Assert.True(first.IsSticky);
        Assert.Same(first, device.Fault);

        _driver.Failures["StreamSynchronize"] = CudaResult.LaunchFailed;
        _driver.Calls.Clear();
        var second = Assert.Throws<CudaException>(stream.Synchronize);
        Assert.Same(first, second.InnerException);
        Assert.Equal(CudaResult.IllegalAddress, second.Result);
        var third = Assert.Throws<CudaException>(() => CudaTensor.Allocate<float>(device, 1));
        Assert.Same(first, third.InnerException);
        Assert.Empty(_driver.Calls); // nothing was tried
    }

    [Fact]
    public void Out_of_memory_says_how_much_was_wanted_and_how_much_there_is()
    {
        using var device = new CudaDevice(_driver, 0);
        _driver.Failures["MemoryAllocate"] = CudaResult.OutOfMemory;
        var e = Assert.Throws<CudaException>(() => CudaTensor.Allocate<float>(device, 1000, 1000));
        Assert.Contains("4000000 bytes", e.Message, StringComparison.Ordinal);
        Assert.Contains("12345 of", e.Message, StringComparison.Ordinal);
        Assert.Null(device.Fault);
    }

    [Fact]
    public async Task Calls_make_the_context_current_on_the_thread_they_are_made_on()
    {
        using var device = new CudaDevice(_driver, 0);
        using CudaTensor<int> tensor = CudaTensor.From<int>(device, 1, 2, 3);
        for (int i = 0; i < 4; i++)
        {
            await Task.Run(() =>
            {
                tensor.FillBytes(0);
                Assert.Equal(0, (int)_driver.ContextGetCurrent(out nint current));
                Assert.Equal(7100, current);
            });
        }
    }

    [Fact]
    public void Streams_events_and_graphs_do_what_they_say()
    {
        using var device = new CudaDevice(_driver, 0);
        using var stream = new CudaStream(device);
        using var begin = new CudaEvent(device);
        using var end = new CudaEvent(device);
        begin.Record(stream);
        end.Record(stream);
        end.Synchronize();
        stream.Wait(end);
        Assert.Equal(1.5f, end.MillisecondsSince(begin));
        using (CudaGraph graph = CudaGraph.Capture(stream, () => Assert.True(stream.IsCapturing)))
        {
            Assert.False(stream.IsCapturing);
            graph.Launch(stream);
            Assert.Equal(1, _driver.Calls.Count(c => c == "GraphLaunch"));
        }
        Assert.Equal(1, _driver.Calls.Count(c => c == "GraphExecutableDestroy"));
        Assert.Equal(1, _driver.Calls.Count(c => c == "GraphDestroy"));
    }

    [Fact]
    public void A_capture_that_throws_ends_and_keeps_the_cause()
    {
        using var device = new CudaDevice(_driver, 0);
        var e = Assert.Throws<InvalidDataException>(() => CudaGraph.Capture(device.DefaultStream, () => throw new InvalidDataException(
            "mine")));
        Assert.Equal("mine", e.Message);
        Assert.False(device.DefaultStream.IsCapturing);
        Assert.Contains("GraphDestroy", _driver.Calls);
    }

    [Fact]
    public void A_foreign_stream_is_used_and_not_destroyed()
    {
        using var device = new CudaDevice(_driver, 0);
        CudaStream foreign = CudaStream.FromHandle(device, 77);
        Assert.Equal(77, foreign.Handle);
        foreign.Synchronize();
        foreign.Dispose();
        Assert.DoesNotContain("StreamDestroy", _driver.Calls);
    }
}
