using System.Runtime.InteropServices;
using AttnCompose.Cpu;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>Shape of a call with as many queries as keys.</summary>
internal readonly record struct SuiteShape(int Batch, int QueryHeads, int KeyValueHeads, int Length, int HeadDim)
{
    public int QueryElements => checked(Batch * QueryHeads * Length * HeadDim);

    public int KeyElements => checked(Batch * KeyValueHeads * Length * HeadDim);

    public override string ToString() => $"b={Batch} hq={QueryHeads} hkv={KeyValueHeads} l={Length} d={HeadDim}";
}

/// <summary>The tensors of a call, without gaps, on the host and on a device. Inputs are normal, keys twice as large.</summary>
internal sealed class CompactTensors<T, TOut> : IDisposable
    where T : unmanaged
    where TOut : unmanaged
{
    public CompactTensors(CudaDevice device, SuiteShape shape, int seed)
    {
        Shape = shape;
        HostQuery = Normals.Draw<T>(shape.QueryElements, seed, 1);
        HostKey = Normals.Draw<T>(shape.KeyElements, seed + 1, 2);
        HostValue = Normals.Draw<T>(shape.KeyElements, seed + 2, 1);
        Query = CudaTensor.FromBhld<T>(device, HostQuery, shape.Batch, shape.QueryHeads, shape.Length, shape.HeadDim);
        Key = CudaTensor.FromBhld<T>(device, HostKey, shape.Batch, shape.KeyValueHeads, shape.Length, shape.HeadDim);
        Value = CudaTensor.FromBhld<T>(device, HostValue, shape.Batch, shape.KeyValueHeads, shape.Length, shape.HeadDim);
        Output = CudaTensor.AllocateBhld<TOut>(device, shape.Batch, shape.QueryHeads, shape.Length, shape.HeadDim);
        LogSumExp = CudaTensor.Allocate<float>(device, shape.Batch, shape.QueryHeads, shape.Length);
    }

    public SuiteShape Shape { get; }

    public T[] HostQuery { get; }

    public T[] HostKey { get; }

    public T[] HostValue { get; }

    public CudaTensor<T> Query { get; }

    public CudaTensor<T> Key { get; }

    public CudaTensor<T> Value { get; }

    public CudaTensor<TOut> Output { get; }

    public CudaTensor<float> LogSumExp { get; }

    public CudaAttentionArguments<T, TOut> Arguments =>
        new() { Query = Query, Key = Key, Value = Value, Output = Output, LogSumExp = LogSumExp };

    /// <summary>Runs a pipeline over these tensors, or others in their place, into poisoned memory.</summary>
    public SuiteResult<TOut> Run(ICudaAttentionPipeline pipeline, CudaAttentionArguments<T, TOut>? arguments = null)
    {
        Output.FillBytes(0xFF);
        LogSumExp.FillBytes(0xFF);
        pipeline.Run(arguments ?? Arguments);
        return SuiteResult<TOut>.Of(Output, LogSumExp);
    }

    public void Dispose()
    {
        Query.Dispose();
        Key.Dispose();
        Value.Dispose();
        Output.Dispose();
        LogSumExp.Dispose();
    }
}

/// <summary>What a call computed, [batch, query heads, rows, dim] and [batch, query heads, rows], rows after rows.</summary>
internal sealed record SuiteResult<TOut>(TOut[] Output, float[] LogSumExp)
    where TOut : unmanaged
{
    public static SuiteResult<TOut> Of(CudaTensor<TOut> output, CudaTensor<float> logSumExp, CudaStream? stream = null)
    {
        var result = new SuiteResult<TOut>(new TOut[output.Count], new float[logSumExp.Count]);
        output.CopyTo(result.Output, stream);
        logSumExp.CopyTo(result.LogSumExp, stream);
        return result;
    }

    /// <summary>The first row that is not bitwise equal, in words; null where all are.</summary>
    public string? Difference(SuiteResult<TOut> other)
    {
        int dim = Output.Length / Math.Max(1, LogSumExp.Length);
        for (int row = 0; row < LogSumExp.Length; row++)
        {
            ReadOnlySpan<byte> own = MemoryMarshal.AsBytes(Output.AsSpan(row * dim, dim));
            if (!own.SequenceEqual(MemoryMarshal.AsBytes(other.Output.AsSpan(row * dim, dim))))
                return $"output row {row} of {LogSumExp.Length} is not bitwise equal";
            if (BitConverter.SingleToInt32Bits(LogSumExp[row]) != BitConverter.SingleToInt32Bits(other.LogSumExp[row]))
                return $"log-sum-exp {row} of {LogSumExp.Length} is {other.LogSumExp[row]}, not {LogSumExp[row]}";
        }
        return null;
    }

    /// <summary>What was left poisoned: two results of kernels that do nothing are equal too.</summary>
    public string? Poison() => Array.FindIndex(LogSumExp, float.IsNaN) is var row and >= 0 ? $"log-sum-exp {row} is NaN" : null;
}

/// <summary>Numbers like those of a normal distribution, many at a time: each is one of 65536 drawn beforehand.</summary>
internal static class Normals
{
    private const int Chunk = 1 << 16;
    private static readonly Lazy<float[]> s_table = new(() =>
    {
        var random = new Random(1);
        var table = new float[1 << 16];
        for (int i = 0; i < table.Length; i++)
            table[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        return table;
    });

    /// <summary>Numbers of a standard deviation, rounded to an element type.</summary>
    public static T[] Draw<T>(int count, int seed, float deviation)
        where T : unmanaged
    {
        var table = new T[1 << 16];
        ElementConvert.FromFloat([.. s_table.Value.Select(value => value * deviation)], table.AsSpan());
        var numbers = new T[count];
        Parallel.For(0, (count + Chunk - 1) / Chunk, chunk =>
        {
            Span<T> part = numbers.AsSpan(chunk * Chunk, Math.Min(Chunk, count - chunk * Chunk));
            ulong bits = 0;
            for (int i = 0; i < part.Length; i++, bits >>= 16)
            {
                if (i % 4 == 0)
                    bits = Mixed(((ulong)(uint)seed << 40) + (ulong)(chunk * (Chunk / 4) + i / 4));
                part[i] = table[(int)(bits & 0xFFFF)];
            }
        });
        return numbers;
    }

    // The output function of the generator splitmix64.
    private static ulong Mixed(ulong state)
    {
        state += 0x9E3779B97F4A7C15;
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
        return state ^ (state >> 31);
    }
}
