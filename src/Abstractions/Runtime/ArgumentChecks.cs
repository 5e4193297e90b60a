using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>Says, before anything is computed, what a call got and what it needs.</summary>
internal static class ArgumentChecks
{
    public static ProblemShape Check<T, TOut>(
        in AttentionArguments<T, TOut> arguments, string pipeline, AttentionMask mask, int headDim, ElementType element)
        where T : unmanaged
        where TOut : unmanaged
    {
        CheckElements<T, TOut>(pipeline, element);
        ReadOnlySpan<nint> q = Rank4(arguments.Query.Lengths, arguments.Query.Strides, "query");
        ReadOnlySpan<nint> k = Rank4(arguments.Key.Lengths, arguments.Key.Strides, "key");
        ReadOnlySpan<nint> v = Rank4(arguments.Value.Lengths, arguments.Value.Strides, "value");
        ReadOnlySpan<nint> o = Rank4(arguments.Output.Lengths, arguments.Output.Strides, "output");
        var shape = new ProblemShape((int)q[0], (int)q[1], (int)k[1], (int)q[2], (int)k[2], (int)q[3]) { Layer = arguments.Layer };
        if (!k.SequenceEqual(v))
            throw new ArgumentException($"value is {Text(v)} but key is {Text(k)}; they must be alike.", "value");
        if (k[0] != q[0] || k[3] != q[3])
            throw new ArgumentException($"key is {Text(k)} but query is {Text(q)}; batch and head dim must agree.", "key");
        CheckShape(in shape, mask, headDim);
        if (!o.SequenceEqual(q))
            throw new ArgumentException($"output is {Text(o)}; it must have the query's shape {Text(q)}.", "output");
        CheckLengths(in shape, arguments.KeyLengths, arguments.QueryLengths, mask);
        if (arguments.Scale is { } scale && !float.IsFinite(scale))
            throw new ArgumentException($"Scale is {scale}; it must be finite.", "Scale");
        arguments.Layer.Check(pipeline);
        CheckLogSumExp(in shape, arguments.LogSumExp);
        return shape;
    }

    public static void CheckElements<T, TOut>(string pipeline, ElementType element)
    {
        ElementType actual = ElementConvert.TypeOf<T>();
        if (actual == ElementType.Any)
            throw ElementConvert.Unsupported<T>();
        if (element != ElementType.Any && actual != element)
            throw new NotSupportedException($"{pipeline} is declared with Element = {element}; it got {Name<T>()}.");
        if (typeof(TOut) != typeof(T) && typeof(TOut) != typeof(float))
        {
            string allowed = typeof(T) == typeof(float) ? "float" : $"{Name<T>()} or float";
            throw new NotSupportedException($"The output of {Name<T>()} inputs is {allowed}; it got {Name<TOut>()}.");
        }
    }

    /// <summary>The name of an element type in C#.</summary>
    private static string Name<T>() =>
        typeof(T) == typeof(float) ? "float" : typeof(T) == typeof(double) ? "double" : typeof(T).Name;

    public static void CheckShape(in ProblemShape shape, AttentionMask mask, int headDim)
    {
        if (headDim != 0 && shape.HeadDim != headDim)
            throw new NotSupportedException($"The pipeline is declared with HeadDim = {headDim}; query has {shape.HeadDim}.");
        if (shape.HeadDim is < 8 or > 256 || shape.HeadDim % 8 != 0)
            throw new NotSupportedException($"Head dim {shape.HeadDim} is not a multiple of 8 in [8, 256].");
        if (shape.QueryHeads > 0 && (shape.KeyValueHeads == 0 || shape.QueryHeads % shape.KeyValueHeads != 0))
        {
            throw new ArgumentException(
                $"{shape.QueryHeads} query heads are not a multiple of {shape.KeyValueHeads} key/value heads.", "key");
        }
        if (mask == AttentionMask.Causal && shape.QueryLength > shape.KeyLength)
        {
            throw new ArgumentException(
                "Under a causal mask there may be no more queries than keys (queries are aligned with the end of the keys); "
                + $"got {shape.QueryLength} queries and {shape.KeyLength} keys.",
                "query");
        }
    }

    private static void CheckLengths(in ProblemShape shape, ReadOnlySpan<int> keys, ReadOnlySpan<int> queries, AttentionMask mask)
    {
        CheckBatch(keys.Length, shape.Batch, "KeyLengths");
        CheckBatch(queries.Length, shape.Batch, "QueryLengths");
        for (int b = 0; b < shape.Batch && (!keys.IsEmpty || !queries.IsEmpty); b++)
        {
            int keyLength = keys.IsEmpty ? shape.KeyLength : keys[b];
            if (keyLength < 0 || keyLength > shape.KeyLength)
                throw BeyondTensor("KeyLengths", b, keyLength, "key", shape.KeyLength);
            int queryLength = !queries.IsEmpty ? queries[b]
                : shape.QueryLength == shape.KeyLength ? keyLength : shape.QueryLength;
            if (queryLength < 0 || queryLength > shape.QueryLength)
                throw BeyondTensor("QueryLengths", b, queryLength, "query", shape.QueryLength);
            if (mask == AttentionMask.Causal && queryLength > keyLength)
            {
                throw new ArgumentException(
                    $"Sequence {b} has {queryLength} queries and {keyLength} keys; under a causal mask there may be no more "
                    + "queries than keys. Set QueryLengths.",
                    queries.IsEmpty ? "KeyLengths" : "QueryLengths");
            }
        }

        static ArgumentException BeyondTensor(string name, int b, int length, string tensor, int rows) =>
            new($"{name}[{b}] is {length}; the {tensor} tensor has {rows} rows.", name);

        static void CheckBatch(int length, int batch, string name)
        {
            if (length != 0 && length != batch)
                throw new ArgumentException($"{name} has {length} entries for a batch of {batch}.", name);
        }
    }

    private static void CheckLogSumExp(in ProblemShape shape, in TensorSpan<float> lse)
    {
        if (lse.IsEmpty && lse.Rank == 0)
            return;
        ReadOnlySpan<nint> lengths = lse.Lengths;
        if (lengths.Length != 3 || lengths[0] != shape.Batch || lengths[1] != shape.QueryHeads || lengths[2] != shape.QueryLength)
        {
            throw new ArgumentException(
                $"LogSumExp is {Text(lengths)}; it must be [{shape.Batch}, {shape.QueryHeads}, {shape.QueryLength}].",
                "LogSumExp");
        }
    }

    /// <summary>The block list of a call, against the problem and against what the pipeline's stages take.</summary>
    public static void CheckBlocks(BlockMask? blocks, in ProblemShape shape, string pipeline, BlockStages? stages) =>
        CheckBlocks(blocks is null ? null : ShapeOf(blocks), in shape, pipeline, stages);

    public static BlockListShape ShapeOf(BlockMask blocks) => new(
        blocks.Batch, blocks.QueryHeads, blocks.QueryLength, blocks.KeyLength, blocks.BlockQuery, blocks.BlockKey,
        blocks.HasColumns, blocks.HasSlashes);

    public static void CheckBlocks(BlockListShape? blocks, in ProblemShape shape, string pipeline, BlockStages? stages)
    {
        if (stages is not { Selector.IsGiven: true } taken)
        {
            if (blocks is not null)
                throw new ArgumentException($"{pipeline} takes no block list; a pipeline with [GivenBlocks] does.", "Blocks");
            return;
        }
        (BlockSelectorAttribute selector, BlockAttentionKernelAttribute kernel) = taken;
        if (blocks is not { } list)
            throw new ArgumentException($"{pipeline} visits the blocks of a list that the caller gives; set Blocks.", "Blocks");
        if (list.BlockQuery != kernel.BlockQuery || list.BlockKey != kernel.BlockKey)
        {
            throw new ArgumentException(
                $"Blocks has blocks of {list.BlockQuery} queries by {list.BlockKey} keys; {pipeline} visits blocks of "
                + $"{kernel.BlockQuery} by {kernel.BlockKey}.", "Blocks");
        }
        if ((list.Batch != 1 && list.Batch != shape.Batch) || (list.QueryHeads != 1 && list.QueryHeads != shape.QueryHeads)
            || list.QueryLength != shape.QueryLength || list.KeyLength != shape.KeyLength)
        {
            throw new ArgumentException(
                $"Blocks is made for [{list.Batch}, {list.QueryHeads}, {list.QueryLength}, {list.KeyLength}] (batch, query heads, Lq, Lk); "
                + $"the problem is [{shape.Batch}, {shape.QueryHeads}, {shape.QueryLength}, {shape.KeyLength}].", "Blocks");
        }
        if ((list.HasColumns && !selector.HasColumns) || (list.HasSlashes && !selector.HasSlashes))
        {
            string what = list.HasColumns && !selector.HasColumns ? "columns" : "slashes";
            throw new ArgumentException($"Blocks has {what}, which the block selector of {pipeline} does not take.", "Blocks");
        }
    }

    /// <summary>The dense heads of a call, against the problem and against what the pipeline's stages take.</summary>
    public static void CheckDenseHeads(HeadSet heads, in ProblemShape shape, string pipeline, BlockStages? stages)
    {
        if (heads.IsEmpty)
            return;
        if (stages is not { Selector.IsGiven: false })
        {
            throw new ArgumentException(
                $"{pipeline} has no block selector that chooses, so no head of it can be left dense.", "DenseHeads");
        }
        if (heads.Highest >= shape.QueryHeads)
        {
            throw new ArgumentException(
                $"DenseHeads has head {heads.Highest}; there are {shape.QueryHeads} query heads.", "DenseHeads");
        }
    }

    private static ReadOnlySpan<nint> Rank4(ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides, string name)
    {
        if (lengths.Length != 4)
            throw new ArgumentException($"{name} is {Text(lengths)}; it must be [batch, heads, length, dim].", name);
        foreach (nint length in lengths)
        {
            if (length > int.MaxValue)
                throw new ArgumentException($"{name} is {Text(lengths)}; a dimension may not pass {int.MaxValue}.", name);
        }
        if (lengths[3] > 1 && strides[3] != 1 && !lengths.Contains(0)) // an empty tensor has no strides of its own
        {
            throw new ArgumentException(
                $"{name} has strides {Text(strides)}; its rows must be contiguous (last stride 1).", name);
        }
        return lengths;
    }

    /// <summary>Refuses an output that overlaps itself, an input or the other output. The tensors must be pinned: addresses are
    /// compared.</summary>
    public static void CheckOutputMemory<T, TOut>(in AttentionArguments<T, TOut> arguments, in ProblemShape shape)
        where T : unmanaged
        where TOut : unmanaged
    {
        if (shape.IsEmpty)
            return;
        CheckRowsApart(arguments.Output.Lengths, arguments.Output.Strides, "output");
        var output = Range(in arguments.Output.GetPinnableReference(), arguments.Output.Lengths, arguments.Output.Strides);
        var query = Range(in arguments.Query.GetPinnableReference(), arguments.Query.Lengths, arguments.Query.Strides);
        var key = Range(in arguments.Key.GetPinnableReference(), arguments.Key.Lengths, arguments.Key.Strides);
        var value = Range(in arguments.Value.GetPinnableReference(), arguments.Value.Lengths, arguments.Value.Strides);
        RefuseShared(output, "output", query, "query");
        RefuseShared(output, "output", key, "key");
        RefuseShared(output, "output", value, "value");
        if (arguments.LogSumExp.IsEmpty)
            return;
        CheckRowsApart(arguments.LogSumExp.Lengths, arguments.LogSumExp.Strides, "LogSumExp");
        var logSumExp = Range(
            in arguments.LogSumExp.GetPinnableReference(), arguments.LogSumExp.Lengths, arguments.LogSumExp.Strides);
        RefuseShared(logSumExp, "LogSumExp", output, "output");
        RefuseShared(logSumExp, "LogSumExp", query, "query");
        RefuseShared(logSumExp, "LogSumExp", key, "key");
        RefuseShared(logSumExp, "LogSumExp", value, "value");
    }

    /// <summary>In order of stride, each step must clear all that lies within it.</summary>
    public static void CheckRowsApart(ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides, string name)
    {
        Span<int> order = [0, 1, 2];
        for (int i = 1; i < 3; i++)
        {
            for (int j = i; j > 0 && strides[order[j]] < strides[order[j - 1]]; j--)
                (order[j], order[j - 1]) = (order[j - 1], order[j]);
        }
        nint extent = lengths.Length > 3 ? lengths[3] : 1;
        foreach (int i in order)
        {
            if (lengths[i] <= 1)
                continue;
            if (strides[i] < extent)
            {
                throw new ArgumentException(
                    $"{name} has shape {Text(lengths)} and strides {Text(strides)}: its rows overlap.", name);
            }
            extent = checked(strides[i] * (lengths[i] - 1) + extent);
        }
    }

    /// <summary>Refuses memory, as byte ranges, that one tensor shares with another.</summary>
    public static void RefuseShared(
        (nuint Begin, nuint End) output, string name, (nuint Begin, nuint End) other, string otherName)
    {
        if (output.Begin < other.End && other.Begin < output.End)
            throw new ArgumentException($"{name} shares memory with {otherName}.", name);
    }

    private static unsafe (nuint Begin, nuint End) Range<TElement>(
        ref readonly TElement first, ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
        where TElement : unmanaged
    {
        nint last = 1;
        for (int i = 0; i < lengths.Length; i++)
        {
            if (lengths[i] == 0)
                return (0, 0);
            last += i < 3 ? strides[i] * (lengths[i] - 1) : lengths[i] - 1;
        }
        var begin = (nuint)Unsafe.AsPointer(ref Unsafe.AsRef(in first));
        return (begin, begin + (nuint)last * (nuint)sizeof(TElement));
    }

    private static string Text(ReadOnlySpan<nint> values) => $"[{string.Join(", ", values.ToArray())}]";
}

/// <summary>Sizes of a block list, on whatever device.</summary>
internal readonly record struct BlockListShape(
    int Batch, int QueryHeads, int QueryLength, int KeyLength, int BlockQuery, int BlockKey, bool HasColumns, bool HasSlashes);
