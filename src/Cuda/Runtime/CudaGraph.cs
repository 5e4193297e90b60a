using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>
/// Work that was captured once and is launched as a whole. It holds the arguments of its kernels as they were at capture:
/// addresses of tensors and of the pipeline's workspace, which must live as long as the graph, strides, scale and options.
/// <see cref="Update"/> replaces them. What the kernels read from device memory, lengths among it, is read at every launch.
/// Run the pipeline once before capturing, so that nothing is compiled or allocated inside.
/// </summary>
public sealed class CudaGraph : IDisposable
{
    private const int ThreadLocalCapture = 1;

    private readonly GraphHandle _handle;

    private CudaGraph(CudaDevice device, GraphHandle handle) => (Device, _handle) = (device, handle);

    /// <summary>The device.</summary>
    public CudaDevice Device { get; }

    /// <summary>Captures what <paramref name="work"/> puts on a stream; nothing of it runs yet.</summary>
    /// <exception cref="CudaException">The driver cannot make a graph of the work. The stream is usable again.</exception>
    public static CudaGraph Capture(CudaStream stream, Action work)
    {
        CudaContext context = Record(stream, work, out nint graph);
        try
        {
            context.Check(context.Driver.GraphInstantiate(out nint executable, graph), "cuGraphInstantiate");
            return new CudaGraph(stream.Device, new GraphHandle(context, executable));
        }
        finally
        {
            context.Driver.GraphDestroy(graph);
        }
    }

    /// <summary>
    /// Gives the graph the arguments with which <paramref name="work"/> launches the same kernels now, such as other tensors
    /// of the same shapes, or a pipeline's options after its <c>Configure</c>. Nothing is instantiated again; launches that are
    /// on a stream already keep the arguments that they had.
    /// </summary>
    /// <param name="stream">A stream to record on; nothing is put on it.</param>
    /// <param name="work">What was captured, with other arguments.</param>
    /// <exception cref="InvalidOperationException">The work has other kernels than the graph, or in another order. The graph is
    /// as it was.</exception>
    public void Update(CudaStream stream, Action work)
    {
        if (!TryUpdate(stream, work))
            throw new InvalidOperationException(
                "The graph was captured from other work: an update changes the arguments of its kernels, not which kernels there are. Capture a new graph.");
    }

    /// <summary>The same; false where the work has other kernels, and the graph is as it was.</summary>
    internal bool TryUpdate(CudaStream stream, Action work)
    {
        CudaContext context = Record(CudaTensor.StreamOf(Device, stream), work, out nint graph);
        try
        {
            CudaResult result = context.Driver.GraphUpdate(_handle.Value, graph);
            if (result != CudaResult.GraphUpdateFailure)
                context.Check(result, "cuGraphExecUpdate");
            return result == CudaResult.Success;
        }
        finally
        {
            context.Driver.GraphDestroy(graph);
        }
    }

    /// <summary>Puts the captured work on a stream.</summary>
    public void Launch(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        CudaTensor.StreamOf(Device, stream);
        CudaContext context = Device.Context;
        context.Check(context.Enter("cuGraphLaunch").GraphLaunch(_handle.Value, stream.Handle), "cuGraphLaunch");
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    /// <summary>What work puts on a stream, as a graph that the caller destroys. However it ends, the capture has ended.</summary>
    private static CudaContext Record(CudaStream stream, Action work, out nint graph)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(work);
        CudaContext context = stream.Device.Context;
        CudaDriverApi driver = context.Enter("cuStreamBeginCapture");
        context.Check(driver.StreamBeginCapture(stream.Handle, ThreadLocalCapture), "cuStreamBeginCapture");
        try
        {
            work();
        }
        catch
        {
            // The stream must leave capture mode, and what went wrong inside matters more than what ending it says.
            if (driver.StreamEndCapture(stream.Handle, out nint partial) == CudaResult.Success && partial != 0)
                driver.GraphDestroy(partial);
            throw;
        }
        context.Check(driver.StreamEndCapture(stream.Handle, out graph), "cuStreamEndCapture");
        return context;
    }

    private sealed class GraphHandle(CudaContext context, nint value) : CudaHandle(context, value)
    {
        protected override CudaResult Release(CudaDriverApi driver, nint value) => driver.GraphExecutableDestroy(value);
    }
}
