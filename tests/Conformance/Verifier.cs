using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using AttnCompose.Cpu;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>How far a verification is, and at its end what it found.</summary>
public sealed record VerifyProgress
{
    /// <summary>Configurations judged.</summary>
    public required int Done { get; init; }

    /// <summary>Configurations in all.</summary>
    public required int Total { get; init; }

    /// <summary>Configurations with a failure.</summary>
    public required int Failed { get; init; }

    /// <summary>Kernel texts, each for one head dim and element types, that were compiled or read from the cache.</summary>
    public required int KernelTexts { get; init; }

    /// <summary>Kernels in these texts.</summary>
    public required int Kernels { get; init; }

    /// <summary>Of these, the ones that no configuration launched: entry point, head dim and types.</summary>
    public required IReadOnlyList<string> NotLaunched { get; init; }

    /// <summary>Largest error of an output in units of what is allowed.</summary>
    public required double LargestError { get; init; }

    /// <summary>Heads whose tokens were chosen again on the CPU from the device's scores.</summary>
    public required int SelectionsCompared { get; init; }

    /// <summary>Runs that were compared bit for bit with the first run of their configuration.</summary>
    public required int Repeats { get; init; }

    /// <summary>The configuration of that error.</summary>
    public required PipelineConfig? Worst { get; init; }

    /// <summary>Time since the beginning.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>Of that, time in which the device had a case.</summary>
    public required TimeSpan DeviceTime { get; init; }
}

/// <summary>
/// Verifies the ready pipelines on a device over many configurations: the device runs one case after the other, while
/// worker threads draw inputs and judge results, and others compile the kernels that come next.
/// </summary>
/// <param name="device">What is verified.</param>
/// <param name="compiler">The same GPU a second time, on which kernels are compiled ahead into the cache; may be null.</param>
public sealed class Verifier(AttentionDevice device, CudaDevice? compiler = null)
{
    private const int MostCompilers = 8;

    private readonly Lock _gate = new();
    private readonly Lock _deviceGate = new();
    private readonly Dictionary<KernelKey, TaskCompletionSource> _compiled = [];
    private readonly HashSet<(KernelKey Key, string Entry)> _launched = [];
    private readonly Dictionary<int, CpuDevice> _cpus = [];
    private readonly Stopwatch _clock = new();
    private readonly Stopwatch _deviceClock = new();
    private int _done;
    private int _failed;
    private int _selections;
    private int _repeats;
    private double _largest;
    private PipelineConfig? _worst;
    private PipelineConfig? _onDevice;
    private long _since;

    /// <summary>Whether workspaces are poisoned; see <see cref="CudaCaseRunner(CudaDevice, bool)"/>.</summary>
    public bool PoisonsWorkspace { get; init; } = true;

    /// <summary>Whether five configurations are run a thousand times and twenty twenty times, or all of them twice.</summary>
    public bool RepeatsOften { get; init; } = true;

    /// <summary>Whether the first configuration with a failure is the last one.</summary>
    public bool StopsAtFailure { get; init; }

    /// <summary>The configuration that the device has, and since when; null where it has none.</summary>
    public (PipelineConfig Config, TimeSpan Since)? OnDevice
    {
        get
        {
            PipelineConfig? config = Volatile.Read(ref _onDevice);
            return config is null ? null : (config, TimeSpan.FromTicks(Volatile.Read(ref _since)));
        }
    }

    /// <summary>Time since <see cref="Run"/> began.</summary>
    public TimeSpan Elapsed => _clock.Elapsed;

    /// <summary>Runs and judges all configurations. For one call.</summary>
    /// <param name="configs">What to run.</param>
    /// <param name="onFailure">Told the failures of a configuration, each with its replay line; by one thread at a time.</param>
    /// <param name="onProgress">Told after each configuration; by one thread at a time.</param>
    public VerifyProgress Run(
        IReadOnlyList<PipelineConfig> configs, Action<IReadOnlyList<string>> onFailure, Action<VerifyProgress> onProgress)
    {
        _clock.Start();
        if (compiler is not null)
            compiler.Tuning = CudaTuning.Default; // what is stored for it does not choose what is compiled
        var order = new List<PipelineConfig>(); // the first of each kernel text
        foreach (PipelineConfig config in configs)
        {
            if (_compiled.TryAdd(KernelKey.Of(config), new(TaskCreationOptions.RunContinuationsAsynchronously)))
                order.Add(config);
        }
        Dictionary<PipelineConfig, int> times = configs.Take(RepeatsOften ? 25 : 0).Distinct()
            .Select((config, i) => (config, i)).ToDictionary(pair => pair.config, pair => pair.i < 5 ? 1000 : 20);
        using CudaCaseRunner? runner = device is CudaDevice cuda ? new CudaCaseRunner(cuda, PoisonsWorkspace) : null;
        // NVRTC takes one program of a process at a time, so all but one of these threads have a worker process.
        var uncompiled = new ConcurrentQueue<PipelineConfig>(order);
        Thread[] compiling = [.. Enumerable.Range(0, Math.Clamp(Environment.ProcessorCount / 2, 1, MostCompilers))
            .Select(_ => new Thread(() => CompileAhead(uncompiled)) { IsBackground = true })];
        Array.ForEach(compiling, thread => thread.Start());
        try
        {
            // In the order of their kernels, so that nobody waits for what is compiled last.
            ILookup<KernelKey, PipelineConfig> byKernel = configs.ToLookup(KernelKey.Of);
            Parallel.ForEach(
                Partitioner.Create(order.SelectMany(first => byKernel[KernelKey.Of(first)]), EnumerablePartitionerOptions.NoBuffering),
                new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount },
                (config, loop) =>
                {
                    int runs = runner is null ? 2 : times.GetValueOrDefault(config, 2);
                    IReadOnlyList<string> failures = Judge(config, runner, runs, out double error, out int selections);
                    lock (_gate)
                    {
                        _done++;
                        _selections += selections;
                        _repeats += runs - 1;
                        if (error > _largest || _worst is null)
                            (_largest, _worst) = (error, config);
                        if (failures.Count > 0)
                        {
                            _failed++;
                            onFailure(failures);
                        }
                        onProgress(Progress(configs.Count));
                        if (device is CudaDevice { Fault: not null } || (StopsAtFailure && _failed > 0))
                            loop.Stop();
                    }
                });
        }
        finally
        {
            Array.ForEach(compiling, thread => thread.Join());
            foreach (CpuDevice cpu in _cpus.Values)
                cpu.Dispose();
        }
        return Progress(configs.Count);
    }

    private VerifyProgress Progress(int total) => new()
    {
        Done = _done,
        Total = total,
        Failed = _failed,
        KernelTexts = device is CudaDevice ? _compiled.Values.Count(source => source.Task.IsCompletedSuccessfully) : 0,
        Kernels = device is CudaDevice
            ? _compiled.Where(pair => pair.Value.Task.IsCompletedSuccessfully).Sum(pair => pair.Key.Plan.Kernels.Count)
            : 0,
        NotLaunched = device is CudaDevice && _done == total ? NotLaunched() : [],
        LargestError = _largest,
        SelectionsCompared = _selections,
        Repeats = _repeats,
        Worst = _worst,
        Elapsed = _clock.Elapsed,
        DeviceTime = _deviceClock.Elapsed,
    };

    private string[] NotLaunched()
    {
        // Only the loop with a copy engine takes rows that were gathered ahead.
        IReadOnlyList<int> engine = device is CudaDevice cuda ? AttentionLoops.Of(cuda.Architecture).WgmmaHeadDims : [];
        return
        [
            .. from key in _compiled.Keys
               from kernel in key.Plan.Kernels
               where key.Tile is null || !kernel.Condition.Contains("without a copy engine", StringComparison.Ordinal)
               where engine.Contains(key.HeadDim) || !kernel.Condition.Contains("with a copy engine", StringComparison.Ordinal)
               where !_launched.Contains((key, kernel.Name))
               select $"{kernel.Name}, {key}",
        ];
    }

    private void CompileAhead(ConcurrentQueue<PipelineConfig> configs)
    {
        while (configs.TryDequeue(out PipelineConfig? config))
        {
            KernelKey key = KernelKey.Of(config);
            try
            {
                if (compiler is not null)
                    key.Compile(config, compiler);
                _compiled[key].SetResult();
            }
            catch (Exception exception)
            {
                _compiled[key].SetException(exception);
            }
        }
    }

    private IReadOnlyList<string> Judge(
        PipelineConfig config, CudaCaseRunner? runner, int times, out double error, out int selections)
    {
        (error, selections) = (0, 0);
        try
        {
            var inputs = new PipelineCase(config);
            _compiled[KernelKey.Of(config)].Task.GetAwaiter().GetResult();
            PipelineResult result;
            lock (_deviceGate)
            {
                _deviceClock.Start();
                Volatile.Write(ref _since, _clock.Elapsed.Ticks);
                Volatile.Write(ref _onDevice, config);
                try
                {
                    using IAttentionPipeline pipeline = ReadyConfigs.Create(config, runner is null ? Cpu(config.Threads) : device);
                    result = runner is null
                        ? inputs.RunTwice(pipeline)
                        : runner.Run(inputs, (ICudaAttentionPipeline)pipeline, times);
                    foreach (string entry in runner?.TakeLaunched() ?? [])
                        _launched.Add((KernelKey.Of(config), entry));
                }
                finally
                {
                    Volatile.Write(ref _onDevice, null);
                    _deviceClock.Stop();
                }
            }
            return inputs.Check(result, out error, out selections);
        }
        catch (Exception exception)
        {
            return [$"{exception.GetType().Name}: {exception.Message}\n  replay: {config}"];
        }
    }

    private CpuDevice Cpu(int threads)
    {
        if (!_cpus.TryGetValue(threads, out CpuDevice? cpu))
            _cpus[threads] = cpu = AttentionDevice.Cpu(threads);
        return cpu;
    }

    /// <summary>What one kernel text is compiled for.</summary>
    private readonly record struct KernelKey(
        PipelinePlan Plan, int HeadDim, ElementType Element, bool FloatOutput, AttentionTile? Tile)
    {
        public static KernelKey Of(PipelineConfig config) =>
            new(ReadyConfigs.PlanOf(config), config.HeadDim, config.Element, config.FloatOutput, config.Tile);

        public override string ToString() =>
            string.Create(CultureInfo.InvariantCulture, $"d={HeadDim} element={Element} floatout={FloatOutput} tile={Tile}");

        /// <summary>Compiles the kernels of a configuration's pipeline into the cache.</summary>
        public void Compile(PipelineConfig config, CudaDevice compiler)
        {
            // Several threads compile for one device: none of them may tune it.
            using IAttentionPipeline pipeline = ReadyConfigs.CreateAlone(config, compiler);
            var variant = new KernelVariant(HeadDim, Element, FloatOutput ? ElementType.Float32 : Element) { Tile = Tile };
            ((ICudaAttentionPipeline)pipeline).Warmup([variant]);
        }
    }
}
