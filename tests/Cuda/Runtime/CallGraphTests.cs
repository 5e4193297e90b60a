using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>Calls whose kernels go to the driver as one graph, on the fake driver.</summary>
public sealed class CallGraphTests : IDisposable
{
    private const int Heads = 4, Dim = 64;

    private readonly FakeDriver _driver = new();
    private readonly CudaDevice _device;
    private readonly CudaStream _stream;
    private readonly FakePipeline _pipeline;
    private readonly FakeKernel _select;
    private readonly FakeKernel _attend;
    private readonly CudaTensor<Half>[] _queries;
    private readonly CudaTensor<Half> _output;

    public CallGraphTests()
    {
        _device = new CudaDevice(_driver, 0) { Tuning = new() { GraphKernels = 2 } };
        _stream = new CudaStream(_device);
        (_select, _attend) = FakePipeline.Install<Half, Half>(_driver, x => (float)x, x => (Half)x);
        _pipeline = new FakePipeline(_device, FakePipeline.Selecting, Cache());
        _queries = [.. Enumerable.Range(0, 3).Select(i => Filled(70, i + 1))];
        _output = CudaTensor.AllocateBhld<Half>(_device, 1, Heads, 130, Dim);
    }

    public void Dispose()
    {
        foreach (IDisposable each in (IDisposable[])[.. _queries, _output, _pipeline, _stream, _device])
            each.Dispose();
        Assert.Empty(_driver.Allocations);
        Assert.Equal((0, 0), (_driver.Open, _driver.Retained));
    }

    private static KernelCache Cache() => new(
        new CudaSettings { UseCache = false },
        p => new CompiledKernel(p.Source.Name, p.Options.Architecture, "12.4", new byte[] { 1 }, ""), () => "fake");

    private CudaTensor<Half> Filled(int length, int value)
    {
        CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(_device, 1, Heads, length, Dim);
        tensor.CopyFrom([.. Enumerable.Repeat((Half)value, (int)tensor.Count)]);
        return tensor;
    }

    private void Run(CudaTensor<Half> query, CudaStream? stream = null)
    {
        nint length = query.Lengths[2];
        using CudaTensor<Half> output = _output.View(0, [1, Heads, length, Dim], [Heads * length * Dim, length * Dim, Dim, 1]);
        _pipeline.Run(
            new CudaAttentionArguments<Half, Half> { Query = query, Key = query, Value = query, Output = output, Scale = 1 },
            stream ?? _stream);
    }

    /// <summary>Runs and demands that both kernels ran once, on this query.</summary>
    private void RunAndCheck(CudaTensor<Half> query, CudaStream? stream = null)
    {
        _output.FillBytes(0xFF, stream ?? _stream);
        (int selects, int attends) = (_select.Launches.Count, _attend.Launches.Count);
        Run(query, stream);
        Assert.Equal((selects + 1, attends + 1), (_select.Launches.Count, _attend.Launches.Count));
        Half[] expected = new Half[query.Count], found = new Half[_output.Count];
        query.CopyTo(expected);
        _output.CopyTo(found);
        Assert.Equal(expected, found[..expected.Length]);
    }

    private int Count(string call) => _driver.Calls.Count(name => name == call);

    /// <summary>Plain launches, graphs made, updates and launches of graphs since the last time.</summary>
    private (int Plain, int Made, int Updated, int Launched) Calls()
    {
        (int, int, int, int) counts = (Count("Launch"), Count("GraphInstantiate"), Count("GraphUpdate"), Count("GraphLaunch"));
        _driver.Calls.Clear();
        return counts;
    }

    [Fact]
    public void A_graph_is_made_at_the_second_call_launched_as_it_is_and_updated_where_something_changed()
    {
        RunAndCheck(_queries[0]);
        Assert.Equal((2, 0, 0, 0), Calls());
        RunAndCheck(_queries[0]);
        Assert.Equal((2, 1, 0, 1), Calls());
        RunAndCheck(_queries[0]);
        Assert.Equal((0, 0, 0, 1), Calls());
        RunAndCheck(_queries[1]);
        Assert.Equal((2, 0, 1, 1), Calls());
        _pipeline.Coverage = 0.5f;
        RunAndCheck(_queries[1]);
        Assert.Equal((2, 0, 1, 1), Calls());
        Assert.Equal(0.5f, MemoryMarshal.Read<float>(_select.Launches[^1].Arguments.AsSpan(224)));
        RunAndCheck(_queries[1]);
        Assert.Equal((0, 0, 0, 1), Calls());
    }

    [Fact]
    public void Another_shape_is_another_grid_of_the_same_graph()
    {
        using CudaTensor<Half> longer = Filled(130, 9);
        RunAndCheck(_queries[0]);
        RunAndCheck(_queries[0]);
        Calls();
        foreach (CudaTensor<Half> query in new[] { longer, _queries[2], longer })
        {
            RunAndCheck(query);
            Assert.Equal((uint)((query.Lengths[2] + 63) / 64), _attend.Launches[^1].Config.GridX);
        }
        // The first longer call grows the workspace.
        Assert.Equal((6, 0, 3, 3), Calls());
    }

    [Fact]
    public void Each_stream_has_a_graph_of_its_own_and_loses_it_with_its_end()
    {
        var other = new CudaStream(_device);
        for (int i = 0; i < 3; i++)
        {
            RunAndCheck(_queries[i]);
            RunAndCheck(_queries[i], other);
        }
        Assert.Equal((12, 2, 2, 4), Calls());
        other.Dispose();
        using var third = new CudaStream(_device);
        int open = _driver.Open;
        RunAndCheck(_queries[0], third);
        Assert.Equal(open - 1, _driver.Open);
    }

    [Fact]
    public void No_more_than_eight_graphs_are_kept()
    {
        CudaStream[] streams = [.. Enumerable.Range(0, CallGraphs.Most + 3).Select(_ => new CudaStream(_device))];
        foreach (CudaStream stream in streams)
        {
            RunAndCheck(_queries[0], stream);
            RunAndCheck(_queries[1], stream);
        }
        Assert.Equal(streams.Length, Calls().Made);
        RunAndCheck(_queries[2], streams[^1]);
        Assert.Equal((2, 0, 1, 1), Calls());
        RunAndCheck(_queries[2], streams[0]);
        Assert.Equal((2, 0, 0, 0), Calls());
        foreach (CudaStream stream in streams)
            stream.Dispose();
    }

    [Fact]
    public void In_a_capture_of_the_callers_and_with_an_observer_kernels_are_launched_one_by_one()
    {
        for (int i = 0; i < 3; i++)
            RunAndCheck(_queries[0]);
        Calls();
        using (CudaGraph graph = CudaGraph.Capture(_stream, () => Run(_queries[1])))
        {
            Assert.Equal((2, 1, 0, 0), Calls());
            int before = _attend.Launches.Count;
            graph.Launch(_stream);
            Assert.Equal(before + 1, _attend.Launches.Count);
        }
        Calls();
        var observer = new Observer();
        _device.Observer = observer;
        RunAndCheck(_queries[2]);
        _device.Observer = null;
        Assert.Equal([FakePipeline.Select, FakePipeline.Attend], observer.Kernels);
        Assert.Equal((2, 0, 0, 0), Calls());
        RunAndCheck(_queries[0]);
        Assert.Equal(1, Calls().Launched);
    }

    [Fact]
    public void Few_kernels_and_a_tuning_without_graphs_launch_one_by_one()
    {
        foreach (int kernels in new[] { 3, int.MaxValue })
        {
            _device.Tuning = new() { GraphKernels = kernels };
            for (int i = 0; i < 3; i++)
                RunAndCheck(_queries[i]);
            Assert.Equal((6, 0, 0, 0), Calls());
        }
    }

    [Theory]
    [InlineData("StreamCreate")]
    [InlineData("StreamBeginCapture")]
    [InlineData("StreamEndCapture")]
    [InlineData("GraphInstantiate")]
    [InlineData("GraphUpdate")]
    public void Without_a_graph_a_call_is_launched_one_by_one(string call)
    {
        RunAndCheck(_queries[0]);
        if (call == "GraphUpdate")
            RunAndCheck(_queries[0]);
        _driver.Failures[call] = CudaResult.OutOfMemory;
        RunAndCheck(_queries[1]);
        Assert.Equal(0, Count("GraphLaunch") - (call == "GraphUpdate" ? 1 : 0));
        _driver.Failures.Clear();
        Calls();
        RunAndCheck(_queries[2]);
        RunAndCheck(_queries[2]);
        Assert.Equal((4, 0, 0, 0), Calls()); // it is not tried again and again
        Assert.Null(_device.Fault);
    }

    [Fact]
    public void A_launch_that_fails_is_an_error_and_the_next_call_works()
    {
        RunAndCheck(_queries[0]);
        RunAndCheck(_queries[0]);
        _driver.Failures["GraphLaunch"] = CudaResult.OutOfMemory;
        Assert.Equal(CudaResult.OutOfMemory, Assert.Throws<CudaException>(() => Run(_queries[1])).Result);
        _driver.Failures.Clear();
        RunAndCheck(_queries[1]);
        RunAndCheck(_queries[2]);
    }

    [Fact]
    public void What_fails_between_two_kernels_launches_neither()
    {
        for (int i = 0; i < 2; i++)
            RunAndCheck(_queries[0]);
        (int selects, int attends) = (_select.Launches.Count, _attend.Launches.Count);
        _pipeline.Inside = launch =>
        {
            launch.Begin(FakePipeline.Attend, PhaseScope.QueryHeadQueryTile);
            launch.Pass(launch.Problem);
            launch.Pass(launch.TokenIndex);
            launch.Run();
            throw new InvalidDataException();
        };
        Assert.Throws<InvalidDataException>(() => Run(_queries[1]));
        Assert.Equal((selects, attends), (_select.Launches.Count, _attend.Launches.Count));
        _pipeline.Inside = null;
        RunAndCheck(_queries[1]);
    }

    [Fact]
    public void Neither_the_same_nor_changed_arguments_allocate()
    {
        CudaTensor<Half> output = _queries[2];
        CudaAttentionArguments<Half, Half>[] arguments = [.. _queries[..2].Select(query => new CudaAttentionArguments<Half, Half>
        {
            Query = query, Key = query, Value = query, Output = output, Scale = 1,
        })];
        void Calls()
        {
            for (int i = 0; i < 60; i++)
                _pipeline.Run(arguments[i / 2 % 2], _stream);
        }
        Calls(); // makes the graph
        _driver.Records = false; // the fake driver's own notes are not what is measured
        for (int i = 0; i < 20; i++)
            Calls();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Calls();
        long perCall = (GC.GetAllocatedBytesForCurrentThread() - before) / 60;
        _driver.Records = true;
        Assert.Equal(0, perCall);
    }

    private sealed class Observer : ICudaRunObserver
    {
        public List<string> Kernels { get; } = [];

        public int GuardBytes => 0;

        public void BeforeLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
        }

        public void BeforeKernel(CudaKernel kernel, CudaStream stream) => Kernels.Add(kernel.Name);

        public void AfterLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
        }
    }
}
