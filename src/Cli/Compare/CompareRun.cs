using System.Diagnostics;
using AttnCompose.Cli.Bench;
using AttnCompose.Cpu;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Compare;

/// <summary>Runs pipelines over one set of tensors on a device: density, error against dense, and time.</summary>
/// <typeparam name="T">Element type of query, key and value; outputs are float32.</typeparam>
internal sealed class CompareRun<T> : IDisposable
    where T : unmanaged
{
    private const int LastRows = 128;
    private const double SampleMilliseconds = 10;

    private readonly HeadTensors _tensors;
    private readonly AttentionDevice _device;
    private readonly int _samples;
    private readonly T[] _query, _key, _value;
    private readonly float[] _dense;
    private readonly float[] _output;
    private readonly float[] _logSumExp;
    private readonly CudaTimer? _timer;
    private CudaAttentionArguments<T, float>? _onDevice;

    /// <param name="tensors">The tensors.</param>
    /// <param name="device">The device.</param>
    /// <param name="dense">Dense attention there: what the others are compared with.</param>
    /// <param name="samples">Samples of a time.</param>
    public CompareRun(HeadTensors tensors, AttentionDevice device, IAttentionPipeline dense, int samples)
    {
        (_tensors, _device, _samples) = (tensors, device, samples);
        (_query, _key, _value) = (Elements(tensors.Query), Elements(tensors.Key), Elements(tensors.Value));
        _output = new float[_query.Length];
        _logSumExp = new float[tensors.Shape.QueryHeads * tensors.Shape.QueryLength];
        if (device is CudaDevice cuda)
        {
            _timer = new CudaTimer(cuda);
            ProblemShape s = tensors.Shape;
            _onDevice = new()
            {
                Query = CudaTensor.FromBhld<T>(cuda, _query, 1, s.QueryHeads, s.QueryLength, s.HeadDim),
                Key = CudaTensor.FromBhld<T>(cuda, _key, 1, s.KeyValueHeads, s.KeyLength, s.HeadDim),
                Value = CudaTensor.FromBhld<T>(cuda, _value, 1, s.KeyValueHeads, s.KeyLength, s.HeadDim),
                Output = CudaTensor.AllocateBhld<float>(cuda, 1, s.QueryHeads, s.QueryLength, s.HeadDim),
                Layer = tensors.Layer,
            };
        }
        Call(dense, null, null);
        _dense = [.. _output];
    }

    /// <summary>Runs one pipeline.</summary>
    public ComparePoint Measure(IAttentionPipeline pipeline, string settings)
    {
        ProblemShape shape = _tensors.Shape;
        var selection = new TokenSelection();
        BlockMask? blocks = pipeline.PipelinePlan.Stages.Any(stage => stage.Kind == StageKind.BlockSelector) ? new() : null;
        Call(pipeline, selection, blocks);
        double kept = 0, all = shape.QueryHeads * Pairs(shape.KeyLength);
        for (int head = 0; head < shape.QueryHeads; head++)
        {
            int count = selection.Batch > 0 ? selection.KeyCount(0, head) : shape.KeyLength;
            kept += blocks?.CausalPairs(0, head, count, count) ?? Pairs(count);
        }
        ((double, double, double) error, double largest) = Errors();
        return new()
        {
            Tensors = _tensors.Name, Pipeline = pipeline.PipelinePlan.Name, Settings = settings, Density = kept / all,
            Error = error, LargestError = largest, Milliseconds = Time(pipeline),
        };

        static double Pairs(double length) => length * (length + 1) / 2;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _onDevice?.Query.Dispose();
        _onDevice?.Key.Dispose();
        _onDevice?.Value.Dispose();
        _onDevice?.Output.Dispose();
        _onDevice = null;
        _timer?.Dispose();
    }

    private void Call(IAttentionPipeline pipeline, TokenSelection? selection, BlockMask? blocks)
    {
        ProblemShape s = _tensors.Shape;
        pipeline.Run(new AttentionArguments<T, float>
        {
            Query = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_query, 1, s.QueryHeads, s.QueryLength, s.HeadDim),
            Key = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_key, 1, s.KeyValueHeads, s.KeyLength, s.HeadDim),
            Value = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)_value, 1, s.KeyValueHeads, s.KeyLength, s.HeadDim),
            Output = AttentionTensor.FromBhld(_output, 1, s.QueryHeads, s.QueryLength, s.HeadDim),
            LogSumExp = AttentionTensor.LogSumExp(_logSumExp, 1, s.QueryHeads, s.QueryLength),
            Selection = selection,
            BlockSelection = blocks,
            Layer = _tensors.Layer,
        });
    }

    private double Time(IAttentionPipeline pipeline)
    {
        double once = Sample(1);
        int calls = (int)Math.Clamp(SampleMilliseconds / Math.Max(once, 1e-3), 1, 1000);
        return SampleStatistics.Of([.. Enumerable.Range(0, _samples).Select(_ => Sample(calls))]).Median;

        double Sample(int times)
        {
            if (_timer is not null && _onDevice is { } arguments)
            {
                var onDevice = (ICudaAttentionPipeline)pipeline;
                return _timer.Time(() =>
                {
                    for (int i = 0; i < times; i++)
                        onDevice.Run(in arguments, _timer.Stream);
                }) / times;
            }
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < times; i++)
                Call(pipeline, null, null);
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds / times;
        }
    }

    private ((double All, double Computed, double Last) Error, double Largest) Errors()
    {
        ProblemShape s = _tensors.Shape;
        var sums = new Sums[s.QueryHeads];
        Parallel.For(0, s.QueryHeads, head =>
        {
            Sums sum = default;
            for (int row = 0; row < s.QueryLength; row++)
            {
                int index = head * s.QueryLength + row;
                ReadOnlySpan<float> actual = _output.AsSpan(index * s.HeadDim, s.HeadDim);
                ReadOnlySpan<float> should = _dense.AsSpan(index * s.HeadDim, s.HeadDim);
                (double off, double norm, double largest) = (0, 0, 0);
                for (int d = 0; d < actual.Length; d++)
                {
                    double difference = (double)actual[d] - should[d];
                    off += difference * difference;
                    norm += (double)should[d] * should[d];
                    largest = Math.Max(largest, Math.Abs(difference));
                }
                (sum.AllOff, sum.All) = (sum.AllOff + off, sum.All + norm);
                if (row >= s.QueryLength - LastRows)
                    (sum.LastOff, sum.Last) = (sum.LastOff + off, sum.Last + norm);
                if (!float.IsNegativeInfinity(_logSumExp[index]))
                    (sum.OnOff, sum.On, sum.Largest) = (sum.OnOff + off, sum.On + norm, Math.Max(sum.Largest, largest));
            }
            sums[head] = sum;
        });
        return (
            (Relative(x => x.AllOff, x => x.All), Relative(x => x.OnOff, x => x.On), Relative(x => x.LastOff, x => x.Last)),
            sums.Max(sum => sum.Largest));

        double Relative(Func<Sums, double> off, Func<Sums, double> norm) =>
            Math.Sqrt(sums.Sum(off) / Math.Max(sums.Sum(norm), 1e-300));
    }

    /// <summary>Squares of one head: what is off, and what dense attention has, over all, computed and last rows.</summary>
    private record struct Sums(double AllOff, double All, double OnOff, double On, double LastOff, double Last, double Largest);

    private static T[] Elements(float[] values)
    {
        var elements = new T[values.Length];
        ElementConvert.FromFloat<T>(values, elements);
        return elements;
    }
}
