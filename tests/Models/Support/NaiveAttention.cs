using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Models.Tests;

/// <summary>
/// Causal attention row by row. With <c>keep</c> it is also the simplest token selection there is: only positions for which
/// it holds take part, the same ones in every head; rows that are not kept become zero.
/// </summary>
internal sealed class NaiveAttention(
    CpuDevice device, Func<int, bool>? keep = null, AttentionMask mask = AttentionMask.Causal) : IAttentionPipeline
{
    public delegate void Inspector(
        int call, ReadOnlyTensorSpan<float> query, ReadOnlyTensorSpan<float> key, ReadOnlyTensorSpan<float> value);

    public AttentionDevice Device => device;

    public int Calls { get; private set; }

    public Inspector? Inspect { get; init; }

    public PipelinePlan PipelinePlan { get; } = new()
    {
        Name = keep is null ? "naive" : "naive-sparse",
        Type = nameof(NaiveAttention),
        Mask = mask,
        HeadDim = 0,
        Element = ElementType.Any,
        Stages = [],
        Kernels = [],
        Buffers = [],
    };

    public unsafe void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged
    {
        Assert.Equal(typeof(float), typeof(T));
        Assert.Equal(typeof(float), typeof(TOut));
        ReadOnlySpan<nint> q = arguments.Query.Lengths, k = arguments.Key.Lengths;
        fixed (T* query = arguments.Query, key = arguments.Key, value = arguments.Value)
        fixed (TOut* output = arguments.Output)
        {
            var work = new Work
            {
                Query = new View((float*)query, arguments.Query.Strides),
                Key = new View((float*)key, arguments.Key.Strides),
                Value = new View((float*)value, arguments.Value.Strides),
                Output = new View((float*)output, arguments.Output.Strides),
                Heads = (int)q[1], Group = (int)(q[1] / k[1]), Queries = (int)q[2], Keys = (int)k[2], Dim = (int)q[3],
                Kept = [.. Enumerable.Range(0, (int)k[2]).Where(position => keep?.Invoke(position) ?? true)],
            };
            if (Inspect is not null)
                InspectFloats(work, query, key, value, in arguments);
            device.Workers.Run(ref work, work.Heads * work.Queries);
            if (keep is not null && arguments.Selection is { } selection)
            {
                selection.Reset(1, work.Heads, work.Keys);
                int begin = work.Kept.Count(position => position < work.Keys - work.Queries);
                for (int head = 0; head < work.Heads; head++)
                {
                    work.Kept.CopyTo(selection.Buffer(0, head));
                    selection.SetCounts(0, head, work.Kept.Length, begin);
                }
            }
        }
        Calls++;
    }

    public void Dispose()
    {
    }

    private unsafe void InspectFloats<T, TOut>(in Work work, T* query, T* key, T* value, in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged
    {
        int heads = work.Heads, keyValueHeads = heads / work.Group, dim = work.Dim;
        var queries = new ReadOnlySpan<float>(query, work.Queries * heads * dim);
        var keys = new ReadOnlySpan<float>(key, work.Keys * keyValueHeads * dim);
        var values = new ReadOnlySpan<float>(value, work.Keys * keyValueHeads * dim);
        Inspect!(
            Calls,
            AttentionTensor.FromBlhd(queries, 1, work.Queries, heads, dim),
            AttentionTensor.FromBlhd(keys, 1, work.Keys, keyValueHeads, dim),
            AttentionTensor.FromBlhd(values, 1, work.Keys, keyValueHeads, dim));
    }

    private readonly unsafe struct View(float* data, ReadOnlySpan<nint> strides)
    {
        private readonly nint _head = strides[1];
        private readonly nint _row = strides[2];

        public Span<float> Row(int head, int row, int dim) => new(data + head * _head + row * _row, dim);
    }

    private struct Work : ICpuWork
    {
        public View Query, Key, Value, Output;
        public int Heads, Group, Queries, Keys, Dim;
        public int[] Kept;

        public readonly void Execute(int item, int worker)
        {
            int head = item % Heads, row = item / Heads;
            int position = Keys - Queries + row;
            Span<float> output = Output.Row(head, row, Dim);
            output.Clear();
            int count = Array.BinarySearch(Kept, position) + 1;
            if (count <= 0)
                return;
            float[] scores = new float[count];
            Span<float> query = Query.Row(head, row, Dim);
            for (int j = 0; j < count; j++)
                scores[j] = TensorPrimitives.Dot<float>(query, Key.Row(head / Group, Kept[j], Dim)) / MathF.Sqrt(Dim);
            TensorPrimitives.SoftMax<float>(scores, scores);
            for (int j = 0; j < count; j++)
                TensorPrimitives.MultiplyAdd<float>(Value.Row(head / Group, Kept[j], Dim), scores[j], output, output);
        }
    }
}
