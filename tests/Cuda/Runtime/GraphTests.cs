using System.Runtime.InteropServices;
using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>Graphs on the fake driver, whose graphs hold arguments and launch kernels as the real one's do.</summary>
public sealed class GraphTests : IDisposable
{
    private readonly FakeDriver _driver = new() { Devices = 2 };
    private readonly CudaDevice _device;
    private readonly CudaStream _stream;
    private readonly FakePipeline _pipeline;
    private readonly FakeKernel _select;
    private readonly CudaTensor<Half> _query;
    private readonly CudaTensor<Half> _key;
    private readonly CudaTensor<Half> _output;
    private readonly CudaTensor<int> _lengths;

    public GraphTests()
    {
        _device = new CudaDevice(_driver, 0);
        _stream = new CudaStream(_device);
        (_select, _) = FakePipeline.Install<Half, Half>(_driver, x => (float)x, x => (Half)x);
        _pipeline = new FakePipeline(_device, FakePipeline.Selecting, Cache());
        _query = CudaTensor.AllocateBhld<Half>(_device, 2, 4, 70, 64);
        _query.CopyFrom([.. Enumerable.Repeat((Half)1, (int)_query.Count)]);
        _key = CudaTensor.AllocateBhld<Half>(_device, 2, 2, 130, 64);
        _output = CudaTensor.AllocateBhld<Half>(_device, 2, 4, 70, 64);
        _lengths = CudaTensor.From<int>(_device, 70, 70);
    }

    private CudaAttentionArguments<Half, Half> Arguments =>
        new() { Query = _query, Key = _key, Value = _key, Output = _output, QueryLengths = _lengths, Scale = 1 };

    public void Dispose()
    {
        foreach (IDisposable each in (IDisposable[])[_query, _key, _output, _lengths, _pipeline, _stream, _device])
            each.Dispose();
        Assert.Empty(_driver.Allocations);
        Assert.Equal((0, 0), (_driver.Open, _driver.Retained));
    }

    private static KernelCache Cache() => new(
        new CudaSettings { UseCache = false },
        p => new CompiledKernel(p.Source.Name, p.Options.Architecture, "12.4", new byte[] { 1 }, ""), () => "fake");

    private void Run() => _pipeline.Run(Arguments, _stream);

    private CudaGraph Capture()
    {
        Run();
        return CudaGraph.Capture(_stream, Run);
    }

    private float LastCoverage => MemoryMarshal.Read<float>(_select.Launches[^1].Arguments.AsSpan(224));

    /// <summary>Rows of the output that hold a result; the others hold 0.</summary>
    private int ComputedRows()
    {
        var all = new Half[_output.Count];
        _output.CopyTo(all, _stream);
        return all.Count(x => x == (Half)1) / 64;
    }

    [Fact]
    public void Replays_follow_lengths_on_the_device_and_options_by_an_update()
    {
        using CudaGraph graph = Capture();
        for (int i = 0; i < 100; i++)
        {
            _lengths.CopyFrom([i % 71, 70 - i % 71], _stream);
            _pipeline.Coverage = i;
            if (i % 2 == 0)
                graph.Update(_stream, Run);
            _output.FillBytes(0xFF, _stream);
            int before = _select.Launches.Count;
            graph.Launch(_stream);
            Assert.Equal(before + 1, _select.Launches.Count);
            Assert.Equal(4 * 70, ComputedRows());
            Assert.Equal(i - i % 2, LastCoverage);
        }
        Assert.Equal(1, _driver.Calls.Count(call => call == "GraphInstantiate"));
    }

    [Fact]
    public void An_update_from_other_work_is_refused_and_leaves_the_graph_as_it_was()
    {
        using CudaGraph graph = Capture();
        _pipeline.Coverage = 7;
        var e = Assert.Throws<InvalidOperationException>(() => graph.Update(_stream, () =>
        {
            Run();
            Run();
        }));
        Assert.Contains("Capture a new graph", e.Message, StringComparison.Ordinal);
        graph.Launch(_stream);
        Assert.Equal(0.005f, LastCoverage);
        graph.Update(_stream, Run);
        graph.Launch(_stream);
        Assert.Equal(7, LastCoverage);
    }

    [Fact]
    public void What_is_not_loaded_yet_is_refused_before_the_capture_is_lost()
    {
        foreach (string what in new[] { "Loading kernels for head dim 64, Float16", "Growing the workspace" })
        {
            var e = Assert.Throws<InvalidOperationException>(() => CudaGraph.Capture(_stream, Run));
            Assert.Contains(what, e.Message, StringComparison.Ordinal);
            Assert.Contains("Run the pipeline once", e.Message, StringComparison.Ordinal);
            Assert.False(_stream.IsCapturing);
            _pipeline.Runner.Prepare<Half, Half>(64);
        }
        Run();
        using CudaGraph graph = CudaGraph.Capture(_stream, Run);
    }

    [Fact]
    public void A_kernel_that_was_never_run_is_loaded_before_a_capture()
    {
        _pipeline.Runner.Prepare<Half, Half>(64);
        _pipeline.Inside = _ => throw new InvalidDataException("after the workspace, before the first kernel");
        Assert.Throws<InvalidDataException>(Run);
        _pipeline.Inside = null;
        var e = Assert.Throws<InvalidOperationException>(() => CudaGraph.Capture(_stream, Run));
        Assert.Contains($"Loading {FakePipeline.Select}", e.Message, StringComparison.Ordinal);
        Capture().Dispose();
    }

    [Fact]
    public void Work_that_no_graph_can_hold_ends_the_capture_with_the_drivers_code()
    {
        Run();
        void Capturing(Action work)
        {
            var e = Assert.Throws<CudaException>(() => CudaGraph.Capture(_stream, () =>
            {
                Run();
                work();
            }));
            Assert.Equal(CudaResult.StreamCaptureUnsupported, e.Result);
            Assert.False(_stream.IsCapturing);
            Assert.Null(_device.Fault);
        }
        Capturing(_stream.Synchronize);
        Capturing(_device.Synchronize);
        Capturing(() => CudaTensor.Allocate<int>(_device, 5));
        Capturing(() => CudaGraph.Capture(_stream, Run));
        Run();
        Capture().Dispose();
    }

    [Fact]
    public void An_error_that_work_hides_still_ends_the_capture()
    {
        Run();
        var e = Assert.Throws<CudaException>(() => CudaGraph.Capture(
            _stream, () => Assert.Throws<CudaException>(_stream.Synchronize)));
        Assert.Equal(CudaResult.StreamCaptureInvalidated, e.Result);
        Assert.False(_stream.IsCapturing);
        Capture().Dispose();
    }

    [Theory]
    [InlineData("StreamBeginCapture")]
    [InlineData("StreamEndCapture")]
    [InlineData("GraphInstantiate")]
    [InlineData("Launch")]
    public void A_call_that_fails_leaves_a_stream_that_works(string call)
    {
        Run();
        _driver.Failures[call] = CudaResult.OutOfMemory;
        var e = Assert.Throws<CudaException>(() => CudaGraph.Capture(_stream, Run));
        Assert.Equal(CudaResult.OutOfMemory, e.Result);
        Assert.False(_stream.IsCapturing);
        _driver.Failures.Clear();
        using CudaGraph graph = Capture();
        foreach (string later in new[] { "StreamBeginCapture", "StreamEndCapture", "GraphUpdate" })
        {
            _driver.Failures[later] = CudaResult.OutOfMemory;
            Assert.Throws<CudaException>(() => graph.Update(_stream, Run));
            _driver.Failures.Clear();
            graph.Update(_stream, Run);
        }
        graph.Launch(_stream);
        Assert.Equal(4 * 70 * 2, ComputedRows());
    }

    [Fact]
    public void A_graph_is_not_launched_on_another_device_or_after_it_was_disposed()
    {
        using var other = new CudaDevice(_driver, 1);
        using var elsewhere = new CudaStream(other);
        CudaGraph graph = Capture();
        Assert.Throws<ArgumentException>(() => graph.Launch(elsewhere));
        Assert.Throws<ArgumentException>(() => graph.Update(elsewhere, Run));
        graph.Dispose();
        Assert.Throws<ObjectDisposedException>(() => graph.Launch(_stream));
        Assert.Throws<ObjectDisposedException>(() => graph.Update(_stream, Run));
        Assert.False(_stream.IsCapturing);
    }

    [NvrtcFact]
    public void A_generated_pipeline_is_configured_between_calls_and_its_graph_updated()
    {
        var driver = new FakeDriver { ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using TokenSparsePrefill pipeline = TokenSparsePrefill.Create(device, new() { Coverage = 0.25 });
        using CudaTensor<BFloat16> query = CudaTensor.AllocateBhld<BFloat16>(device, 1, 4, 300, 64);
        using CudaTensor<BFloat16> key = CudaTensor.AllocateBhld<BFloat16>(device, 1, 2, 300, 64);
        using CudaTensor<BFloat16> output = CudaTensor.AllocateBhld<BFloat16>(device, 1, 4, 300, 64);
        var arguments = new CudaAttentionArguments<BFloat16, BFloat16> { Query = query, Key = key, Value = key, Output = output };
        void Run() => pipeline.Run(in arguments, device.DefaultStream);
        Run();
        using CudaGraph graph = CudaGraph.Capture(device.DefaultStream, Run);
        FakeKernel budget = driver.Kernels["token_sparse_prefill_budget"];
        (double, int) Options()
        {
            byte[] packed = budget.Launches[^1].Arguments;
            return (MemoryMarshal.Read<double>(packed.AsSpan(budget.Parameters![3].Offset)), MemoryMarshal.Read<int>(packed.AsSpan(budget.Parameters[4].Offset)));
        }
        pipeline.Configure(new() { Coverage = 0.5, MinTokens = 3 });
        graph.Launch(device.DefaultStream);
        Assert.Equal((0.25, 1024), Options());
        graph.Update(device.DefaultStream, Run);
        graph.Launch(device.DefaultStream);
        Assert.Equal((0.5, 3), Options());
        Assert.Throws<ArgumentOutOfRangeException>(() => pipeline.Configure(new() { Coverage = 2 }));
        Run();
        Assert.Equal((0.5, 3), Options());
        pipeline.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pipeline.Configure(new()));
    }
}
