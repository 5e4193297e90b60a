using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>
/// Work that was captured once and is launched as a whole. It holds the addresses of the tensors and of the pipeline's
/// workspace as they were at capture: keep both until the graph is disposed, and run the pipeline once before capturing, so
/// that nothing is compiled or allocated inside.
/// </summary>
public sealed class CudaGraph : IDisposable
{
    private const int ThreadLocalCapture = 1;

    private readonly GraphHandle _handle;

    private CudaGraph(CudaDevice device, GraphHandle handle) => (Device, _handle) = (device, handle);

    /// <summary>The device.</summary>
    public CudaDevice Device { get; }

    /// <summary>Captures what <paramref name="work"/> puts on a stream; nothing of it runs yet.</summary>
    public static CudaGraph Capture(CudaStream stream, Action work)
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
        context.Check(driver.StreamEndCapture(stream.Handle, out nint graph), "cuStreamEndCapture");
        try
        {
            context.Check(driver.GraphInstantiate(out nint executable, graph), "cuGraphInstantiate");
            return new CudaGraph(stream.Device, new GraphHandle(context, executable));
        }
        finally
        {
            driver.GraphDestroy(graph);
        }
    }

    /// <summary>Puts the captured work on a stream.</summary>
    public void Launch(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        CudaContext context = Device.Context;
        context.Check(context.Enter("cuGraphLaunch").GraphLaunch(_handle.Value, stream.Handle), "cuGraphLaunch");
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private sealed class GraphHandle(CudaContext context, nint value) : CudaHandle(context, value)
    {
        protected override CudaResult Release(CudaDriverApi driver, nint value) => driver.GraphExecutableDestroy(value);
    }
}
