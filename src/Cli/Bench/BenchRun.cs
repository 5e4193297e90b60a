using System.Globalization;
using AttnCompose.Conformance;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Bench;

/// <summary>One run: our pipelines and the peers on every problem that was asked for, taking turns sample by sample.</summary>
internal sealed class BenchRun : IDisposable
{
    private const int HostCalls = 2000;

    private readonly BenchRequest _request;
    private readonly AttentionDevice _device;
    private readonly CudaTimer? _timer;
    private readonly GpuMonitor? _monitor;
    private readonly PeerProcess? _peers;
    private readonly List<BenchRow> _rows = [];

    public BenchRun(BenchRequest request, AttentionDevice device)
    {
        (_request, _device) = (request, device);
        try
        {
            if (device is CudaDevice cuda)
            {
                if (request.Gather is { } gather)
                    cuda.Tuning = cuda.Tuning with { GatherLength = gather == GatherUse.Ahead ? 0 : int.MaxValue };
                _timer = new CudaTimer(cuda);
                _monitor = GpuMonitor.Open(cuda);
            }
            if (request.PeersCommand is { } command)
                _peers = new PeerProcess(command);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Called with each row as soon as it is measured.</summary>
    public Action<BenchRow>? Measured { get; init; }

    /// <summary>Problems of the run, for its progress.</summary>
    public int Problems
    {
        get
        {
            int dense = _request.Pipelines.Any(pipeline => !BenchRequest.IsSparse(pipeline)) ? 1 : 0;
            int sparse = _request.Pipelines.Any(BenchRequest.IsSparse) ? Math.Max(1, _request.Keeps.Count) : 0;
            int extras = (_request.Host ? _request.Pipelines.Count : 0) + (_request.Compile ? _request.Pipelines.Count : 0);
            return (dense + sparse) * _request.Lengths.Count + (_timer is null ? 0 : extras);
        }
    }

    /// <summary>Measures everything. What fails becomes a row that says why; the rest goes on.</summary>
    public BenchReport Execute(BenchProgress progress, string command)
    {
        DateTime created = DateTime.UtcNow;
        Ceilings ceilings = MeasureCeilings();
        switch (_request.Element)
        {
            case ElementType.Float32:
                MeasureAll<float>(progress);
                break;
            case ElementType.Float16:
                MeasureAll<Half>(progress);
                break;
            default:
                MeasureAll<BFloat16>(progress);
                break;
        }
        return new BenchReport
        {
            Created = created,
            Command = command,
            Machine = MachineFacts.Of(_device, _monitor, _rows, _peers?.Info ?? []),
            Ceilings = MeasureAgain(ceilings),
            Rows = _rows,
        };
    }

    public void Dispose()
    {
        _peers?.Dispose();
        _monitor?.Dispose();
        _timer?.Dispose();
    }

    private Ceilings MeasureCeilings() =>
        _device is CudaDevice cuda && _timer is not null && _request.Element != ElementType.Float32
            ? CudaMeasures.Measure(cuda, _timer, _request.Element, _request.Samples)
            : Ceilings.None;

    private Ceilings MeasureAgain(Ceilings before)
    {
        try
        {
            return CudaMeasures.Better(before, MeasureCeilings());
        }
        catch (CudaException)
        {
            return before; // what a device says that failed meanwhile is in the rows
        }
    }

    private void MeasureAll<T>(BenchProgress progress)
        where T : unmanaged
    {
        var groups =
            from sparse in new[] { false, true }
            let pipelines = _request.Pipelines.Where(pipeline => BenchRequest.IsSparse(pipeline) == sparse).ToArray()
            where pipelines.Length > 0
            from mask in pipelines.Select(pipeline => pipeline.Plan.Mask).Distinct()
            from length in _request.Lengths
            from keep in sparse && _request.Keeps.Count > 0 ? _request.Keeps.Select(keep => (double?)keep) : [null]
            select (
                Problem: _request.Case(
                    sparse ? Workloads.TokenSparse : Workloads.Dense, length, keep, mask, onGpu: _timer is not null),
                Pipelines: pipelines.Where(pipeline => pipeline.Plan.Mask == mask).ToArray());
        foreach ((BenchCase problem, PipelineDescriptor[] pipelines) in groups)
        {
            progress.Report($"{problem}", 0);
            try
            {
                if (_device is CudaDevice cuda)
                    MeasureOnGpu<T>(cuda, problem, pipelines, progress);
                else
                    MeasureOnCpu<T>(problem, pipelines, progress);
            }
            catch (Exception error) when (error is CudaException or OutOfMemoryException or NotSupportedException)
            {
                Add(new BenchRow
                {
                    Implementation = pipelines[0].Name, IsOwn = true, Case = problem, Error = CommandLine.OneLine(error.Message),
                });
            }
            progress.Finish();
        }
        if (_device is CudaDevice gpu)
            MeasureExtras<T>(gpu, progress);
    }

    private void MeasureOnCpu<T>(BenchCase problem, PipelineDescriptor[] pipelines, BenchProgress progress)
        where T : unmanaged
    {
        var inputs = new HostInputs<T>(problem, _request.KeyDeviation);
        Compete(problem, progress, pipelines.Select(pipeline => (Func<IContender>)(() =>
        {
            (var settings, double? coverage) = Settings(pipeline, problem, trial =>
            {
                using IAttentionPipeline instance = Create(pipeline, _device, trial);
                var selection = new TokenSelection();
                inputs.Run(instance, selection);
                return (double)CpuContender<T>.Kept(selection, problem.Heads) / problem.Length;
            });
            return new CpuContender<T>(
                Create(pipeline, _device, settings), problem with { Coverage = coverage }, inputs);
        })), null);
    }

    private void MeasureOnGpu<T>(CudaDevice device, BenchCase problem, PipelineDescriptor[] pipelines, BenchProgress progress)
        where T : unmanaged
    {
        using var inputs = new CudaInputs<T>(device, problem, _request.KeyDeviation);
        var own = new List<CudaContender<T>>();
        IEnumerable<Func<IContender>> makers = pipelines.Select(pipeline => (Func<IContender>)(() =>
        {
            (var settings, double? coverage) = Settings(pipeline, problem, trial =>
            {
                using var instance = (ICudaAttentionPipeline)Create(pipeline, device, trial);
                int kept = KeepSettings.Kept(instance, KeepSettings.LastQueries(inputs[0], pipeline), device);
                return (double)kept / problem.Length;
            });
            var instance = (ICudaAttentionPipeline)Create(pipeline, device, settings);
            own.Add(new CudaContender<T>(instance, problem with { Coverage = coverage }, inputs, _timer!));
            return own[^1];
        }));
        if (_request.Stages && problem.Workload == Workloads.TokenSparse)
            makers = makers.Append(() => Contiguous(device, own[0]));
        Compete(problem, progress, makers, contender =>
        {
            if (_request.Stages && own.Contains(contender))
                MeasureKernels((CudaContender<T>)contender, inputs);
        });
    }

    /// <summary>
    /// Dense attention over as many tokens as a pipeline keeps, every query head with keys of its own: what the pipeline's whole
    /// call takes beyond it is the price of being sparse.
    /// </summary>
    private CudaContender<T> Contiguous<T>(CudaDevice device, CudaContender<T> sparse)
        where T : unmanaged
    {
        BenchCase problem = sparse.Case with
        {
            Workload = Workloads.Contiguous,
            Length = sparse.Case.Kept is > 0 and { } kept ? kept : sparse.Case.Length,
            KeyValueHeads = sparse.Case.Heads,
            Kept = null,
            Coverage = null,
        };
        PipelineDescriptor dense = problem.Mask == AttentionMask.Causal ? DenseAttention.Descriptor : FullAttention.Descriptor;
        var inputs = new CudaInputs<T>(device, problem, _request.KeyDeviation);
        var instance = (ICudaAttentionPipeline)Create(dense, device, []);
        return new CudaContender<T>(instance, problem, inputs, _timer!, ownsInputs: true);
    }

    private static IAttentionPipeline Create(
        PipelineDescriptor pipeline, AttentionDevice device, IReadOnlyList<KeyValuePair<string, string>> settings) =>
        DrawnTensorsPipeline.Of(CommonOptions.CreatePipeline(pipeline, device, settings));

    private (IReadOnlyList<KeyValuePair<string, string>> Settings, double? Coverage) Settings(
        PipelineDescriptor pipeline, BenchCase problem, Func<IReadOnlyList<KeyValuePair<string, string>>, double> kept)
    {
        KeyValuePair<string, string>[] own =
            [.. _request.Settings.Where(setting => pipeline.Plan.Parameters.Any(parameter => parameter.Name == setting.Key))];
        return problem.Keep is { } keep && BenchRequest.IsSparse(pipeline)
            ? KeepSettings.Find(pipeline, own, problem.Length, keep, kept)
            : (own, null);
    }

    /// <summary>Prepares all contenders, lets them take turns, and adds their rows.</summary>
    /// <param name="problem">The problem.</param>
    /// <param name="progress">Told after each round.</param>
    /// <param name="own">Makes our contenders.</param>
    /// <param name="afterwards">Called with each of ours that was measured, before it goes.</param>
    private void Compete(
        BenchCase problem, BenchProgress progress, IEnumerable<Func<IContender>> own, Action<IContender>? afterwards)
    {
        var entrants = new List<Entrant>();
        bool opened = false;
        try
        {
            foreach (Func<IContender> make in own)
                entrants.Add(Prepare(make()));
            if (_peers is not null)
            {
                // Peers are asked for what ours turned out to keep.
                BenchCase asked = entrants.Count > 0 ? entrants[0].Contender.Case : problem;
                opened = true;
                foreach (IContender peer in OpenPeers(asked))
                    entrants.Add(Prepare(peer));
            }
            _monitor?.Take();
            for (int round = 0; round < _request.Samples; round++)
            {
                // Each round begins with another one, so that nobody is always first after a pause.
                for (int i = 0; i < entrants.Count; i++)
                {
                    Thread.Sleep(_request.RestMilliseconds);
                    entrants[(i + round) % entrants.Count].Sample();
                }
                progress.Report($"{problem}", (round + 1.0) / _request.Samples);
            }
            (double clock, double power) = _monitor?.Take() ?? default;
            foreach (Entrant entrant in entrants)
            {
                Add(entrant.ToRow() with { ClockMegahertz = clock, PowerWatts = power });
                if (entrant.Contender.IsOwn && entrant.Error.Length == 0)
                    afterwards?.Invoke(entrant.Contender);
            }
        }
        finally
        {
            foreach (Entrant entrant in entrants)
                entrant.Contender.Dispose();
            if (opened)
                ClosePeers();
        }
    }

    private IReadOnlyList<IContender> OpenPeers(BenchCase problem)
    {
        try
        {
            return _peers!.Open(problem);
        }
        catch (Exception error) when (error is PeerException or CommandException)
        {
            Add(new BenchRow { Implementation = "peers", Case = problem, Error = CommandLine.OneLine(error.Message) });
            return [];
        }
    }

    private void ClosePeers()
    {
        try
        {
            _peers!.Close();
        }
        catch (Exception error) when (error is PeerException or CommandException)
        {
            // Whatever it is, the next problem's row says it.
        }
    }

    private void MeasureKernels<T>(CudaContender<T> contender, CudaInputs<T> inputs)
        where T : unmanaged
    {
        BenchCase problem = contender.Case with { Workload = Workloads.Kernel, Graph = false };
        string prefix = contender.Implementation.Replace('-', '_') + "_";
        var kernels = CudaMeasures.Kernels(contender.Pipeline, inputs, _request.Samples);
        foreach ((string kernel, double[] samples) in kernels)
        {
            string part = kernel.StartsWith(prefix, StringComparison.Ordinal) ? kernel[prefix.Length..] : kernel;
            BenchRow row = Own(contender.Implementation, problem, part, samples);
            Add(row);
            if (part == Workloads.Select)
                CompareSelection(row with { Case = problem with { Workload = Workloads.Select } });
        }
    }

    /// <summary>The kernel that chooses the tokens, given scores and count, beside what peers do for it.</summary>
    private void CompareSelection(BenchRow row)
    {
        Add(row);
        if (_peers is null)
            return;
        ClosePeers();
        foreach (IContender peer in OpenPeers(row.Case))
        {
            Entrant entrant = Prepare(peer);
            for (int round = 0; round < _request.Samples; round++)
                entrant.Sample();
            Add(entrant.ToRow());
        }
    }

    private void MeasureExtras<T>(CudaDevice device, BenchProgress progress)
        where T : unmanaged
    {
        foreach (PipelineDescriptor pipeline in _request.Pipelines.Where(_ => _request.Host))
        {
            BenchCase problem = Shortest(Workloads.HostTime, pipeline);
            progress.Report($"{pipeline.Name} {problem}", 0);
            using var inputs = new CudaInputs<T>(device, problem, _request.KeyDeviation);
            using var instance = (ICudaAttentionPipeline)Create(pipeline, device, []);
            foreach ((string part, double[] samples) in CudaMeasures.HostTimes(instance, inputs, HostCalls))
                Add(Own(pipeline.Name, problem, part, samples));
            progress.Finish();
        }
        foreach (PipelineDescriptor pipeline in _request.Pipelines.Where(_ => _request.Compile))
        {
            BenchCase problem = Shortest(Workloads.KernelLoading, pipeline);
            progress.Report($"{pipeline.Name} {problem}", 0);
            foreach ((string part, double[] samples) in CudaMeasures.KernelLoading(
                pipeline, device, _request.HeadDim, _request.Element, _request.Samples))
            {
                string note = string.Create(CultureInfo.InvariantCulture, $"{pipeline.Plan.Kernels.Count} kernels");
                Add(Own(pipeline.Name, problem, part, samples) with { Note = note });
            }
            progress.Finish();
        }
    }

    private BenchCase Shortest(string workload, PipelineDescriptor pipeline) =>
        _request.Case(workload, _request.Lengths.Min(), null, pipeline.Plan.Mask, onGpu: false);

    private static BenchRow Own(string pipeline, BenchCase problem, string part, double[] samples) =>
        new() { Implementation = pipeline, IsOwn = true, Case = problem, Part = part, Samples = samples };

    private void Add(BenchRow row)
    {
        _rows.Add(row);
        Measured?.Invoke(row);
    }

    private static Entrant Prepare(IContender contender)
    {
        var entrant = new Entrant(contender);
        entrant.Try(contender.Prepare);
        return entrant;
    }

    /// <summary>A contender and what became of it. The first failure ends its part.</summary>
    private sealed class Entrant(IContender contender)
    {
        private readonly List<double> _samples = [];

        public IContender Contender => contender;

        public string Error { get; private set; } = "";

        public void Sample() => Try(() => _samples.Add(contender.Sample()));

        public void Try(Action action)
        {
            if (Error.Length > 0)
                return;
            try
            {
                action();
            }
            catch (Exception error) when (error is PeerException or CommandException or CudaException
                or NotSupportedException or OutOfMemoryException)
            {
                Error = CommandLine.OneLine(error.Message);
            }
        }

        public BenchRow ToRow() => new()
        {
            Implementation = contender.Implementation,
            IsOwn = contender.IsOwn,
            Case = contender.Case,
            Samples = Error.Length == 0 ? _samples : [],
            MemoryBytes = (contender as IUsesDeviceMemory)?.MemoryBytes ?? 0,
            Note = contender.Note,
            Error = Error,
        };
    }
}
