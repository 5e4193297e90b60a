using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Bench;

/// <summary>Measures, for a head dim and element type, what each choice of a <see cref="CudaTuning"/> costs.</summary>
internal sealed class TuneRun(CudaDevice device, int heads, int keyValueHeads, int samples)
{
    private const double Keep = 0.5;
    private const int HostCalls = 500;
    private static readonly int[] s_lengths = [1024, 2048, 4096, 8192, 16384];
    private static readonly int[] s_tileLengths = [1024, 2048, 8192, 32768]; // two short, two long: TuningClass.LongFrom
    private static readonly int[] s_teams = [1, 2, 3, 4, 6, 8];
    private static readonly int[] s_teamLengths = [8192, 32768];

    /// <summary>Measures and chooses for a head dim and element type.</summary>
    public TuneResult Measure(int headDim, ElementType element)
    {
        CudaTuning? own = device.OwnTuning;
        try
        {
            device.Tuning = CudaTuning.Default;
            return element == ElementType.Float16 ? Measure<Half>(headDim, element) : Measure<BFloat16>(headDim, element);
        }
        finally
        {
            device.OwnTuning = own;
        }
    }

    private TuneResult Measure<T>(int headDim, ElementType element)
        where T : unmanaged
    {
        var times = new List<TuneTime>();
        BenchCase problem = Problem(headDim, element);
        times.AddRange(Tiles<T>(problem));
        var tiles = TuneChoice.Tiles(times, headDim, element);
        times.AddRange(s_lengths.SelectMany(length => Gathering<T>(problem with { Length = length }, tiles)));
        times.AddRange(s_teamLengths.SelectMany(length => Teams<T>(problem with { Length = length })));
        times.AddRange(HostTimes<T>(problem with { Length = s_lengths[0] }));
        return new TuneResult(TuneChoice.Of(times, CudaTuning.Default), tiles, times);
    }

    /// <summary>Dense calls under both masks, short and long, in each shape of tiles, taking turns.</summary>
    private IEnumerable<TuneTime> Tiles<T>(BenchCase sparse)
        where T : unmanaged
    {
        AttentionTile?[] tiles = [null, .. device.ComputeCapability.Major == 9 ? AttentionTile.OthersFor(sparse.HeadDim) : []];
        if (tiles.Length == 1)
            return [];
        var times = new List<TuneTime>();
        foreach (AttentionMask mask in (AttentionMask[])[AttentionMask.Causal, AttentionMask.Full])
        {
            ICudaAttentionPipeline Dense() => (ICudaAttentionPipeline)CommonOptions.CreatePipeline(
                mask == AttentionMask.Causal ? DenseAttention.Descriptor : FullAttention.Descriptor, device, []);
            using (ICudaAttentionPipeline pipeline = Dense())
                pipeline.Warmup([.. tiles.Select(tile => new KernelVariant(sparse.HeadDim, sparse.Element) { Tile = tile })]);
            foreach (int length in s_tileLengths)
            {
                BenchCase problem = sparse with { Workload = Workloads.Dense, Keep = null, Mask = mask, Length = length };
                CudaTuning[] ways = [.. tiles.Select(tile => new CudaTuning { AttentionTile = tile })];
                times.AddRange(TakingTurns<T>(problem, ways, Dense).Select((ms, i) => new TuneTime(
                    TuneTime.Tile(mask), tiles[i]?.ToString() ?? TuneTime.DefaultTile, length, ms)));
            }
        }
        return times;
    }

    /// <summary>Whole calls, keys gathered ahead and in the loop, taking turns.</summary>
    private IEnumerable<TuneTime> Gathering<T>(BenchCase problem, IReadOnlyList<(TuningClass Class, AttentionTile? Tile)> tiles)
        where T : unmanaged
    {
        bool isLong = problem.Length >= TuningClass.LongFrom;
        AttentionTile? tile = tiles.First(chosen => chosen.Class.Mask == problem.Mask && chosen.Class.IsLong == isLong).Tile;
        CudaTuning[] ways = [new() { GatherLength = 0, AttentionTile = tile }, new() { GatherLength = int.MaxValue }];
        return TakingTurns<T>(problem, ways, () => Pipeline(problem)).Select((ms, i) => new TuneTime(
            TuneTime.Gather, ways[i].GatherLength == 0 ? "ahead" : "in the loop", problem.Length, ms));
    }

    /// <summary>Times of calls under each tuning. In every round each has its turn, and another one is the first.</summary>
    private SampleStatistics[] TakingTurns<T>(BenchCase problem, CudaTuning[] ways, Func<ICudaAttentionPipeline> pipeline)
        where T : unmanaged
    {
        using var timer = new CudaTimer(device);
        using var inputs = new CudaInputs<T>(device, problem, keyDeviation: 1);
        CudaContender<T>[] contenders = [.. ways.Select(_ => new CudaContender<T>(pipeline(), problem, inputs, timer))];
        try
        {
            var measured = ways.Select(_ => new double[samples]).ToArray();
            for (int round = -1; round < samples; round++)
            {
                for (int i = 0; i < ways.Length; i++)
                {
                    int way = (i + Math.Max(0, round)) % ways.Length;
                    device.Tuning = ways[way];
                    if (round < 0)
                        contenders[way].Prepare();
                    else
                        measured[way][round] = contenders[way].Sample();
                }
            }
            return [.. measured.Select(SampleStatistics.Of)];
        }
        finally
        {
            foreach (CudaContender<T> contender in contenders)
                contender.Dispose();
        }
    }

    /// <summary>The selection kernel alone, its keys shared by more and more blocks.</summary>
    private IEnumerable<TuneTime> Teams<T>(BenchCase problem)
        where T : unmanaged
    {
        using var inputs = new CudaInputs<T>(device, problem, keyDeviation: 1);
        using ICudaAttentionPipeline pipeline = Pipeline(problem);
        var times = new List<TuneTime>();
        foreach (int team in s_teams)
        {
            device.Tuning = new() { TeamBlocks = team };
            var select = CudaMeasures.Kernels(pipeline, inputs, samples)
                .First(kernel => kernel.Kernel.EndsWith("_" + Workloads.Select, StringComparison.Ordinal));
            times.Add(new TuneTime(TuneTime.Team, $"{team}", problem.Length, SampleStatistics.Of(select.Samples)));
        }
        return times;
    }

    /// <summary>What a call costs the host: its kernels one by one, and as one graph.</summary>
    private IEnumerable<TuneTime> HostTimes<T>(BenchCase problem)
        where T : unmanaged
    {
        using var inputs = new CudaInputs<T>(device, problem, keyDeviation: 1);
        using ICudaAttentionPipeline pipeline = Pipeline(problem);
        device.Tuning = new() { GraphKernels = 1 };
        var parts = CudaMeasures.HostTimes(pipeline, inputs, HostCalls);
        int kernels = CudaMeasures.Kernels(pipeline, inputs, 1).Count;
        yield return Part("changed pointers", TuneTime.Graph);
        yield return Part("kernels one by one", TuneTime.Apart);

        TuneTime Part(string part, string what) =>
            new(what, $"{kernels}", problem.Length, SampleStatistics.Of(parts.First(time => time.Part == part).Samples));
    }

    private BenchCase Problem(int headDim, ElementType element) => new()
    {
        Workload = Workloads.TokenSparse,
        Length = s_lengths[0],
        Keep = Keep,
        Heads = heads,
        KeyValueHeads = keyValueHeads,
        HeadDim = headDim,
        Element = element,
    };

    private ICudaAttentionPipeline Pipeline(BenchCase problem)
    {
        PipelineDescriptor fixedCount = TokenSparseFixed.Descriptor;
        var (settings, _) = KeepSettings.Find(fixedCount, [], problem.Length, Keep, _ => Keep);
        return (ICudaAttentionPipeline)CommonOptions.CreatePipeline(fixedCount, device, settings);
    }
}
