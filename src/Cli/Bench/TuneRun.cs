using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Bench;

/// <summary>Measures, for one class of calls, what each choice of a <see cref="CudaTuning"/> costs.</summary>
internal sealed class TuneRun(CudaDevice device, int heads, int keyValueHeads, int samples)
{
    private const double Keep = 0.5;
    private const int HostCalls = 500;
    private static readonly int[] s_lengths = [1024, 2048, 4096, 8192, 16384];
    private static readonly int[] s_teams = [1, 2, 3, 4, 6, 8];
    private static readonly int[] s_teamLengths = [8192, 32768];

    /// <summary>Measures and chooses.</summary>
    public TuneResult Measure(TuningClass of)
    {
        CudaTuning? own = device.OwnTuning;
        try
        {
            return of.Element == ElementType.Float16 ? Measure<Half>(of) : Measure<BFloat16>(of);
        }
        finally
        {
            device.OwnTuning = own;
        }
    }

    private TuneResult Measure<T>(TuningClass of)
        where T : unmanaged
    {
        var times = new List<TuneTime>();
        times.AddRange(s_lengths.SelectMany(length => Gathering<T>(of, length)));
        times.AddRange(s_teamLengths.SelectMany(length => Teams<T>(of, length)));
        times.AddRange(HostTimes<T>(of));
        return new TuneResult(of, TuneChoice.Of(times, CudaTuning.Default), times);
    }

    /// <summary>Whole calls, keys gathered ahead and in the loop, taking turns.</summary>
    private IEnumerable<TuneTime> Gathering<T>(TuningClass of, int length)
        where T : unmanaged
    {
        BenchCase problem = Problem(of, length);
        using var timer = new CudaTimer(device);
        using var inputs = new CudaInputs<T>(device, problem, keyDeviation: 1);
        CudaTuning[] ways = [new() { GatherLength = 0 }, new() { GatherLength = int.MaxValue }];
        CudaContender<T>[] contenders = [.. ways.Select(_ => new CudaContender<T>(Pipeline(problem), problem, inputs, timer))];
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
            return ways.Select((way, i) => new TuneTime(
                TuneTime.Gather, way.GatherLength == 0 ? "ahead" : "in the loop", length, SampleStatistics.Of(measured[i])));
        }
        finally
        {
            foreach (CudaContender<T> contender in contenders)
                contender.Dispose();
        }
    }

    /// <summary>The selection kernel alone, its keys shared by more and more blocks.</summary>
    private IEnumerable<TuneTime> Teams<T>(TuningClass of, int length)
        where T : unmanaged
    {
        BenchCase problem = Problem(of, length);
        using var inputs = new CudaInputs<T>(device, problem, keyDeviation: 1);
        using ICudaAttentionPipeline pipeline = Pipeline(problem);
        var times = new List<TuneTime>();
        foreach (int team in s_teams)
        {
            device.Tuning = new() { TeamBlocks = team };
            var select = CudaMeasures.Kernels(pipeline, inputs, samples)
                .First(kernel => kernel.Kernel.EndsWith("_" + Workloads.Select, StringComparison.Ordinal));
            times.Add(new TuneTime(TuneTime.Team, $"{team}", length, SampleStatistics.Of(select.Samples)));
        }
        return times;
    }

    /// <summary>What a call costs the host: its kernels one by one, and as one graph.</summary>
    private IEnumerable<TuneTime> HostTimes<T>(TuningClass of)
        where T : unmanaged
    {
        BenchCase problem = Problem(of, s_lengths[0]);
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

    private BenchCase Problem(TuningClass of, int length) => new()
    {
        Workload = Workloads.TokenSparse,
        Length = length,
        Keep = Keep,
        Heads = heads,
        KeyValueHeads = keyValueHeads,
        HeadDim = of.HeadDim,
        Element = of.Element,
    };

    private ICudaAttentionPipeline Pipeline(BenchCase problem)
    {
        PipelineDescriptor fixedCount = TokenSparseFixed.Descriptor;
        var (settings, _) = KeepSettings.Find(fixedCount, [], problem.Length, Keep, _ => Keep);
        return (ICudaAttentionPipeline)CommonOptions.CreatePipeline(fixedCount, device, settings);
    }
}
