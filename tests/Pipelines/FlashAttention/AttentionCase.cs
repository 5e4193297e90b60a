using System.Numerics.Tensors;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines.Tests.FlashAttention;

public enum Rule
{
    None,
    Alibi,
    Mask,
}

/// <summary>One attention problem with its data, small enough for plain loops; ToString replays it.</summary>
public sealed record AttentionCase
{
    public int Seed { get; init; }
    public int Batch { get; init; } = 1;
    public int QueryHeads { get; init; } = 1;
    public int KeyHeads { get; init; } = 1;
    public int Queries { get; init; } = 1;
    public int Keys { get; init; } = 1;
    public int Dim { get; init; } = 64;
    public AttentionMask Mask { get; init; }
    public Rule Rule { get; init; }

    /// <summary>Sequences get lengths of their own; the bytes behind them are NaN.</summary>
    public bool Varlen { get; init; }

    /// <summary>Each query head keeps rows of its own.</summary>
    public bool Indexed { get; init; }

    /// <summary>Tensors are stored [batch, length, heads, dim].</summary>
    public bool Blhd { get; init; }

    public float? Scale { get; init; }

    public int Bits { get; init; } = 256;
    public int Workers { get; init; } = 1;

    public float EffectiveScale => Scale ?? 1 / MathF.Sqrt(Dim);

    /// <summary>A random case; dimensions favour odd lengths and the edges of tiles.</summary>
    public static AttentionCase Random(int seed, int bits)
    {
        var random = new Random(seed);
        int[] edges = [1, 2, 95, 96, 97, 191, 192, 193, 287, 288, 300];
        int Length() => random.Next(3) == 0 ? edges[random.Next(edges.Length)] : random.Next(1, 301);
        int keyHeads = random.Next(1, 3);
        int keys = Length();
        var mask = (AttentionMask)random.Next(2);
        int queries = random.Next(2) == 0 ? keys : Length();
        if (mask == AttentionMask.Causal || random.Next(2) == 0)
            queries = Math.Min(queries, keys);
        int batch = random.Next(1, 4), group = random.Next(1, 8 / keyHeads + 1), dim = 8 * random.Next(1, 33);
        while ((long)batch * keyHeads * group * queries * keys * dim > 1 << 24) // keeps the plain loops quick
        {
            if (batch > 1)
                batch--;
            else if (dim > 64)
                dim -= 8;
            else
                queries = queries / 2 + 1;
        }
        return new AttentionCase
        {
            Seed = seed,
            Batch = batch,
            KeyHeads = keyHeads,
            QueryHeads = keyHeads * group,
            Queries = queries,
            Keys = keys,
            Dim = dim,
            Mask = mask,
            Rule = (Rule)random.Next(3),
            Varlen = random.Next(2) == 0,
            Indexed = random.Next(3) == 0 && queries <= keys,
            Blhd = random.Next(2) == 0,
            Scale = random.Next(4) == 0 ? 0.3f : null,
            Bits = bits,
            Workers = random.Next(1, 4),
        };
    }

    public AttentionData<T, TOut> Data<T, TOut>()
        where T : unmanaged
        where TOut : unmanaged =>
        new(this);
}

/// <summary>The tensors of a case and what the kernel made of them.</summary>
public sealed class AttentionData<T, TOut>
    where T : unmanaged
    where TOut : unmanaged
{
    public AttentionData(AttentionCase of)
    {
        Case = of;
        var random = new Random(of.Seed);
        KeyLengths = [.. Enumerable.Range(0, of.Batch).Select(_ => of.Varlen ? random.Next(0, of.Keys + 1) : of.Keys)];
        QueryLengths = [.. KeyLengths.Select(k => !of.Varlen ? of.Queries
            : random.Next(0, (of.Mask == AttentionMask.Causal || of.Indexed ? Math.Min(k, of.Queries) : of.Queries) + 1))];
        Query = Fill(random, of.QueryHeads, of.Queries, QueryLengths);
        Key = Fill(random, of.KeyHeads, of.Keys, KeyLengths);
        Value = Fill(random, of.KeyHeads, of.Keys, KeyLengths);
        Output = new TOut[of.Batch * of.QueryHeads * of.Queries * of.Dim];
        LogSumExp = new float[of.Batch * of.QueryHeads * of.Queries];
        Selection.Reset(of.Batch, of.QueryHeads, of.Keys);
        for (int b = 0; b < of.Batch; b++)
        {
            for (int h = 0; h < of.QueryHeads; h++)
                Select(random, b, h);
        }
    }

    public AttentionCase Case { get; }
    public int[] KeyLengths { get; }
    public int[] QueryLengths { get; }
    public T[] Query { get; }
    public T[] Key { get; }
    public T[] Value { get; }
    public TOut[] Output { get; }
    public float[] LogSumExp { get; }
    public TokenSelection Selection { get; } = new();

    /// <summary>Runs the kernel on a device of its own; outputs are NaN beforehand.</summary>
    public AttentionData<T, TOut> Run()
    {
        using CpuDevice device = AttentionDevice.Cpu(Case.Workers);
        using var runner = new CpuPipelineRunner(device, "test", Case.Mask, 0, ElementType.Any);
        Run(runner);
        return this;
    }

    public void Run(CpuPipelineRunner runner)
    {
        AttentionCase c = Case;
        var nan = new TOut[1];
        ElementConvert.FromFloat<TOut>([float.NaN], nan);
        Array.Fill(Output, nan[0]);
        Array.Fill(LogSumExp, float.NaN);
        RunAgain(runner, new TestPipeline(c, Selection));
    }

    public void RunAgain(CpuPipelineRunner runner, TestPipeline pipeline)
    {
        AttentionCase c = Case;
        KernelWidth.Force(c.Bits);
        try
        {
            runner.Run(pipeline, new AttentionArguments<T, TOut>
            {
                Query = View<T>(Query, c.QueryHeads, c.Queries),
                Key = View<T>(Key, c.KeyHeads, c.Keys),
                Value = View<T>(Value, c.KeyHeads, c.Keys),
                Output = c.Blhd
                    ? AttentionTensor.FromBlhd(Output.AsSpan(), c.Batch, c.Queries, c.QueryHeads, c.Dim)
                    : AttentionTensor.FromBhld(Output.AsSpan(), c.Batch, c.QueryHeads, c.Queries, c.Dim),
                LogSumExp = AttentionTensor.LogSumExp(LogSumExp, c.Batch, c.QueryHeads, c.Queries),
                KeyLengths = c.Varlen ? KeyLengths : default,
                QueryLengths = c.Varlen ? QueryLengths : default,
                Scale = c.Scale,
            });
        }
        finally
        {
            KernelWidth.Force(0);
        }
    }

    public int Offset(int heads, int length, int b, int h, int row) =>
        (Case.Blhd ? (b * length + row) * heads + h : (b * heads + h) * length + row) * Case.Dim;

    public float[] OutputRow(int b, int h, int row)
    {
        var result = new float[Case.Dim];
        ElementConvert.ToFloat<TOut>(Output.AsSpan(Offset(Case.QueryHeads, Case.Queries, b, h, row), Case.Dim), result);
        return result;
    }

    public float LogSumExpAt(int b, int h, int row) => LogSumExp[(b * Case.QueryHeads + h) * Case.Queries + row];

    /// <summary>Sets one element of a tensor.</summary>
    public static void Set(T[] data, int index, float value) => ElementConvert.FromFloat<T>([value], data.AsSpan(index, 1));

    private ReadOnlyTensorSpan<TElement> View<TElement>(ReadOnlySpan<TElement> data, int heads, int length) => Case.Blhd
        ? AttentionTensor.FromBlhd(data, Case.Batch, length, heads, Case.Dim)
        : AttentionTensor.FromBhld(data, Case.Batch, heads, length, Case.Dim);

    private T[] Fill(Random random, int heads, int length, int[] lengths)
    {
        var values = new float[Case.Batch * heads * length * Case.Dim];
        for (int b = 0; b < Case.Batch; b++)
        {
            for (int h = 0; h < heads; h++)
            {
                for (int row = 0; row < length; row++)
                {
                    int at = Offset(heads, length, b, h, row);
                    for (int i = 0; i < Case.Dim; i++)
                        values[at + i] = row < lengths[b] ? random.NextSingle() * 4 - 2 : float.NaN;
                }
            }
        }
        var result = new T[values.Length];
        ElementConvert.FromFloat<T>(values, result);
        return result;
    }

    private void Select(Random random, int b, int h)
    {
        int keep = random.Next(0, 5); // none, few, half, most, all
        int count = 0, begin = 0;
        Span<int> positions = Selection.Buffer(b, h);
        for (int p = 0; p < KeyLengths[b]; p++)
        {
            if (keep == 4 || random.Next(8) < keep * 2)
            {
                if (p < KeyLengths[b] - QueryLengths[b])
                    begin++;
                positions[count++] = p;
            }
        }
        Selection.SetCounts(b, h, count, begin);
    }
}
