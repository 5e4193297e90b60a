namespace AttnCompose.Cuda;

/// <summary>
/// Puts the kernels of a call on a stream as one graph, which costs the host a third of launching them one by one. A graph is
/// made when the same kernels come to the same stream a second time, and kept: it is launched as it is where nothing changed,
/// and given the new arguments where something did. Kernels of a call that no graph can be made for are launched one by one.
/// </summary>
internal sealed class CallGraphs : IDisposable
{
    /// <summary>Graphs kept, over all streams; the one that was not used for longest goes.</summary>
    public const int Most = 8;

    /// <summary>Most kernels of a graph: so many run longer than it takes to launch them.</summary>
    public const int MostKernels = 20;

    private readonly List<Known> _known = []; // the last used first
    private readonly CudaDevice _device;
    private readonly Action _record;
    private CudaStream? _recorder;
    private LaunchList? _recorded;

    public CallGraphs(CudaDevice device)
    {
        _device = device;
        _record = () => _recorded!.LaunchOn(_recorder!);
    }

    /// <summary>Puts the kernels of a call on a stream that is not being captured.</summary>
    /// <param name="call">The kernels. The list may be kept; then another takes its place.</param>
    /// <param name="stream">The stream.</param>
    public void Put(ref LaunchList call, CudaStream stream)
    {
        Known? known = Find(call, stream);
        if (known is { IsRefused: false } && (known.HasGraphOf(call) || TryRecord(known, ref call)))
        {
            known.Graph!.Launch(stream);
            return;
        }
        call.LaunchOn(stream);
        if (known is null)
            Remember(ref call, stream);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Known known in _known)
        {
            known.Graph?.Dispose();
            known.Call.Dispose();
        }
        _known.Clear();
        _recorder?.Dispose();
    }

    private Known? Find(LaunchList call, CudaStream stream)
    {
        for (int i = 0; i < _known.Count; i++)
        {
            Known known = _known[i];
            if (!known.Stream.IsSameQueue(stream) || !known.Call.HasKernelsOf(call))
                continue;
            for (; i > 0; i--)
                _known[i] = _known[i - 1];
            return _known[0] = known;
        }
        return null;
    }

    private void Remember(ref LaunchList call, CudaStream stream)
    {
        for (int i = _known.Count - 1; i >= 0; i--)
        {
            if (_known[i].Stream.IsDisposed)
                Forget(i).Dispose();
        }
        LaunchList next = _known.Count == Most ? Forget(Most - 1) : new LaunchList();
        _known.Insert(0, new Known { Stream = stream, Call = call });
        call = next;
    }

    private LaunchList Forget(int index)
    {
        Known known = _known[index];
        _known.RemoveAt(index);
        known.Graph?.Dispose(); // what of it is on a stream still runs
        return known.Call;
    }

    /// <summary>Gives a graph the kernels of a call, on a stream of its own where nobody else's work is.</summary>
    private bool TryRecord(Known known, ref LaunchList call)
    {
        _recorded = call;
        try
        {
            _recorder ??= new CudaStream(_device);
            if (known.Graph is null || !known.Graph.TryUpdate(_recorder, _record))
            {
                known.Drop();
                known.Graph = CudaGraph.Capture(_recorder, _record);
            }
            (known.Call, call) = (call, known.Call);
            return true;
        }
        catch (CudaException e) when (!e.Result.IsSticky())
        {
            // Such as no memory for the graph: the call itself needs none.
            known.Drop();
            known.IsRefused = true;
            return false;
        }
        finally
        {
            _recorded = null;
        }
    }

    /// <summary>Kernels that came to a stream, and their graph from the second time on.</summary>
    private sealed class Known
    {
        public required CudaStream Stream { get; init; }

        /// <summary>The call that the graph launches; before there is one, the first call.</summary>
        public required LaunchList Call { get; set; }

        public CudaGraph? Graph { get; set; }

        /// <summary>Whether the driver refused a graph.</summary>
        public bool IsRefused { get; set; }

        public bool HasGraphOf(LaunchList call) => Graph is not null && Call.HasArgumentsOf(call);

        public void Drop()
        {
            Graph?.Dispose();
            Graph = null;
        }
    }
}
