using AttnCompose.Cuda;

namespace AttnCompose.Cli.Bench;

/// <summary>Times work on a device's default stream by events.</summary>
internal sealed class CudaTimer(CudaDevice device) : IDisposable
{
    private readonly CudaEvent _start = new(device);
    private readonly CudaEvent _end = new(device);

    public CudaStream Stream => device.DefaultStream;

    /// <summary>Milliseconds of what an action puts on the stream.</summary>
    public double Time(Action work)
    {
        _start.Record(Stream);
        work();
        _end.Record(Stream);
        _end.Synchronize();
        return _end.MillisecondsSince(_start);
    }

    public void Dispose()
    {
        _start.Dispose();
        _end.Dispose();
    }
}

/// <summary>A contender whose device memory is known.</summary>
internal interface IUsesDeviceMemory
{
    /// <summary>Device memory of the tensors and of what the first calls allocate, bytes.</summary>
    long MemoryBytes { get; }
}

/// <summary>A pipeline on a GPU, over inputs that several pipelines may share.</summary>
/// <param name="pipeline">The pipeline; it is disposed with the contender.</param>
/// <param name="problem">The problem.</param>
/// <param name="inputs">Its inputs.</param>
/// <param name="timer">Times the stream that calls are put on.</param>
/// <param name="ownsInputs">Whether the inputs are disposed with the contender.</param>
internal sealed class CudaContender<T>(
    ICudaAttentionPipeline pipeline, BenchCase problem, CudaInputs<T> inputs, CudaTimer timer, bool ownsInputs = false)
    : TimedContender, IUsesDeviceMemory
    where T : unmanaged
{
    private BenchCase _case = problem;
    private CudaGraph? _graph;

    public override string Implementation => pipeline.PipelinePlan.Name;

    public override BenchCase Case => _case;

    /// <summary>The pipeline.</summary>
    public ICudaAttentionPipeline Pipeline => pipeline;

    public long MemoryBytes { get; private set; }

    protected override int Calls => inputs.Count;

    public override void Dispose()
    {
        _graph?.Dispose();
        pipeline.Dispose();
        if (ownsInputs)
            inputs.Dispose();
    }

    protected override void WarmUp()
    {
        long free = CudaMeasures.FreeBytes(inputs.Device);
        if (_case.Workload == Workloads.TokenSparse)
            _case = _case with { Kept = KeepSettings.Kept(pipeline, inputs[0], inputs.Device) };
        Pass();
        timer.Stream.Synchronize();
        MemoryBytes = inputs.Count * CudaInputs<T>.TensorBytes(_case) + free - CudaMeasures.FreeBytes(inputs.Device);
        if (_case.Graph)
            _graph = CudaGraph.Capture(timer.Stream, Pass);
    }

    protected override double Time(int passes) => timer.Time(() =>
    {
        for (int i = 0; i < passes; i++)
        {
            if (_graph is not null)
                _graph.Launch(timer.Stream);
            else
                Pass();
        }
    });

    private void Pass()
    {
        for (int set = 0; set < inputs.Count; set++)
            pipeline.Run(inputs[set], timer.Stream);
    }
}
