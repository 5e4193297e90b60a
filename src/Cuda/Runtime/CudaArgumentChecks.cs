using System.Runtime.CompilerServices;
using AttnCompose.Cpu;

namespace AttnCompose.Cuda;

/// <summary>Says, before anything is launched, what a call on device memory got and what it needs.</summary>
internal static class CudaArgumentChecks
{
    private const int Alignment = 16; // bytes: one vector load

    public static ProblemShape Check<T, TOut>(
        in CudaAttentionArguments<T, TOut> arguments, CudaProgram program, CudaDevice device, BlockStages? blocks = null)
        where T : unmanaged
        where TOut : unmanaged
    {
        CheckElements<T, TOut>(program);
        ReadOnlySpan<nint> q = Rank4(arguments.Query, device, "query");
        ReadOnlySpan<nint> k = Rank4(arguments.Key, device, "key");
        ReadOnlySpan<nint> v = Rank4(arguments.Value, device, "value");
        ReadOnlySpan<nint> o = Rank4(arguments.Output, device, "output");
        var shape = new ProblemShape((int)q[0], (int)q[1], (int)k[1], (int)q[2], (int)k[2], (int)q[3]) { Layer = arguments.Layer };
        if (!k.SequenceEqual(v))
            throw new ArgumentException(
                $"value is {CudaTensor.Text(v)} but key is {CudaTensor.Text(k)}; they must be alike.", "value");
        if (k[0] != q[0] || k[3] != q[3])
            throw new ArgumentException(
                $"key is {CudaTensor.Text(k)} but query is {CudaTensor.Text(q)}; batch and head dim must agree.", "key");
        ArgumentChecks.CheckShape(in shape, program.Mask, program.HeadDim);
        CheckPositions(in shape, program);
        if (!o.SequenceEqual(q))
            throw new ArgumentException(
                $"output is {CudaTensor.Text(o)}; it must have the query's shape {CudaTensor.Text(q)}.", "output");
        CheckAlignment(arguments.Query, "query");
        CheckAlignment(arguments.Key, "key");
        CheckAlignment(arguments.Value, "value");
        CheckAlignment(arguments.Output, "output");
        CheckLogSumExp(arguments.LogSumExp, in shape, device);
        CheckLengths(arguments.KeyLengths, shape.Batch, device, "KeyLengths");
        CheckLengths(arguments.QueryLengths, shape.Batch, device, "QueryLengths");
        if (arguments.Scale is { } scale && !float.IsFinite(scale))
            throw new ArgumentException($"Scale is {scale}; it must be finite.", "Scale");
        arguments.Layer.Check(program.Name);
        CheckSelection(arguments.Selection, in shape, device, program);
        ArgumentChecks.CheckBlocks(arguments.Blocks?.Shape, in shape, program.Name, blocks);
        ArgumentChecks.CheckDenseHeads(arguments.DenseHeads, in shape, program.Name, blocks);
        if (arguments.Blocks is { } given)
            CheckDevice(given.Visit, device, "Blocks");
        CheckBlockSelection(arguments.BlockSelection, in shape, device, program, blocks);
        CheckOutputMemory(in arguments);
        return shape;
    }

    public static void CheckElements<T, TOut>(CudaProgram program)
    {
        ArgumentChecks.CheckElements<T, TOut>(program.Name, program.Element);
        ElementType element = ElementConvert.TypeOf<T>();
        if (!program.Elements.Contains(element))
            throw new NotSupportedException(
                $"{program.Name} takes {string.Join(" or ", program.Elements)} on a CUDA device; it got {element}. On the CPU it takes all of them.");
    }

    /// <summary>Translated rules make floats of positions and their differences by way of 22 bits.</summary>
    public static void CheckPositions(in ProblemShape shape, CudaProgram program)
    {
        const int most = 1 << 22;
        // With more queries than keys, as the full mask allows, the first ones stand before position 0.
        long positions = program.Mask == AttentionMask.Causal ? shape.KeyLength : (long)shape.QueryLength + shape.KeyLength;
        if (program.HasRules && positions > most)
        {
            string what = program.Mask == AttentionMask.Causal ? "keys" : "queries and keys together";
            throw new NotSupportedException($"{program.Name} has rules, which on a CUDA device take at most {most} {what}; got {positions}.");
        }
    }

    private static ReadOnlySpan<nint> Rank4<T>(CudaTensor<T> tensor, CudaDevice device, string name) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        CheckDevice(tensor, device, name);
        ReadOnlySpan<nint> lengths = tensor.Lengths;
        if (lengths.Length != 4)
            throw new ArgumentException($"{name} is {CudaTensor.Text(lengths)}; it must be [batch, heads, length, dim].", name);
        foreach (nint length in lengths)
        {
            if (length > int.MaxValue)
                throw new ArgumentException(
                    $"{name} is {CudaTensor.Text(lengths)}; a dimension may not pass {int.MaxValue}.", name);
        }
        if (lengths[3] > 1 && tensor.Strides[3] != 1)
            throw new ArgumentException(
                $"{name} has strides {CudaTensor.Text(tensor.Strides)}; its rows must be contiguous (last stride 1).", name);
        return lengths;
    }

    public static void CheckDevice<T>(CudaTensor<T> tensor, CudaDevice device, string name) where T : unmanaged
    {
        if (tensor.Device.Ordinal != device.Ordinal)
            throw new ArgumentException($"{name} is on {tensor.Device.Name}; the pipeline is on {device.Name}.", name);
    }

    private static void CheckAlignment<T>(CudaTensor<T> tensor, string name) where T : unmanaged
    {
        if (tensor.Count == 0)
            return;
        if (tensor.Pointer % Alignment != 0)
            throw new ArgumentException(
                $"{name} begins at address 0x{tensor.Pointer:x}, which is not a multiple of {Alignment} bytes.", name);
        for (int i = 0; i < 3; i++)
        {
            if (tensor.Lengths[i] > 1 && tensor.Strides[i] * Unsafe.SizeOf<T>() % Alignment != 0)
            {
                throw new ArgumentException(
                    $"{name} has strides {CudaTensor.Text(tensor.Strides)} of {Unsafe.SizeOf<T>()}-byte elements; stride {i} is not a multiple of {Alignment} bytes.", name);
            }
        }
    }

    private static void CheckLogSumExp(CudaTensor<float>? tensor, in ProblemShape shape, CudaDevice device)
    {
        if (tensor is null)
            return;
        CheckDevice(tensor, device, "LogSumExp");
        if (!tensor.Lengths.SequenceEqual([shape.Batch, shape.QueryHeads, shape.QueryLength]))
        {
            throw new ArgumentException(
                $"LogSumExp is {CudaTensor.Text(tensor.Lengths)}; it must be [{shape.Batch}, {shape.QueryHeads}, {shape.QueryLength}].", "LogSumExp");
        }
    }

    private static void CheckLengths(CudaTensor<int>? tensor, int batch, CudaDevice device, string name)
    {
        if (tensor is null)
            return;
        CheckDevice(tensor, device, name);
        if (tensor.Rank != 1 || tensor.Lengths[0] != batch || (batch > 1 && tensor.Strides[0] != 1))
            throw new ArgumentException(
                $"{name} is {CudaTensor.Text(tensor.Lengths)}; it must be [{batch}], without gaps.", name);
    }

    private static void CheckSelection(
        CudaTokenSelection? selection, in ProblemShape shape, CudaDevice device, CudaProgram program)
    {
        if (selection is null)
            return;
        if (!program.SelectsTokens)
            throw new ArgumentException($"{program.Name} selects no tokens, so there is no selection to receive.", "Selection");
        CheckDevice(selection.Positions, device, "Selection");
        if (!selection.Positions.Lengths.SequenceEqual([shape.Batch, shape.QueryHeads, shape.KeyLength]))
        {
            throw new ArgumentException(
                $"Selection is made for {CudaTensor.Text(selection.Positions.Lengths)}; the problem is [{shape.Batch}, {shape.QueryHeads}, {shape.KeyLength}].", "Selection");
        }
    }

    private static void CheckBlockSelection(
        CudaBlockMask? selection, in ProblemShape shape, CudaDevice device, CudaProgram program, BlockStages? stages)
    {
        if (selection is null)
            return;
        if (stages is not ({ IsGiven: false } selector, var kernel))
            throw new ArgumentException($"{program.Name} chooses no blocks, so there is no choice to receive.", "BlockSelection");
        CheckDevice(selection.Visit, device, "BlockSelection");
        BlockListShape needed = BlocksOf(in shape, selector, kernel);
        if (selection.Shape != needed)
            throw new ArgumentException($"BlockSelection is made for {selection.Shape}; the problem is {needed}.", "BlockSelection");
    }

    /// <summary>The block list that a selector fills for a problem.</summary>
    public static BlockListShape BlocksOf(
        in ProblemShape shape, BlockSelectorAttribute selector, BlockAttentionKernelAttribute kernel) => new(
            shape.Batch, shape.QueryHeads, shape.QueryLength, shape.KeyLength, kernel.BlockQuery, kernel.BlockKey,
            selector.HasColumns, selector.HasSlashes);

    private static void CheckOutputMemory<T, TOut>(in CudaAttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged
    {
        if (arguments.Output.Count == 0)
            return;
        ArgumentChecks.CheckRowsApart(arguments.Output.Lengths, arguments.Output.Strides, "output");
        var output = Range(arguments.Output);
        var query = Range(arguments.Query);
        var key = Range(arguments.Key);
        var value = Range(arguments.Value);
        ArgumentChecks.RefuseShared(output, "output", query, "query");
        ArgumentChecks.RefuseShared(output, "output", key, "key");
        ArgumentChecks.RefuseShared(output, "output", value, "value");
        if (arguments.LogSumExp is not { } tensor)
            return;
        ArgumentChecks.CheckRowsApart(tensor.Lengths, tensor.Strides, "LogSumExp");
        var logSumExp = Range(tensor);
        ArgumentChecks.RefuseShared(logSumExp, "LogSumExp", output, "output");
        ArgumentChecks.RefuseShared(logSumExp, "LogSumExp", query, "query");
        ArgumentChecks.RefuseShared(logSumExp, "LogSumExp", key, "key");
        ArgumentChecks.RefuseShared(logSumExp, "LogSumExp", value, "value");
    }

    private static (nuint Begin, nuint End) Range<T>(CudaTensor<T> tensor) where T : unmanaged
    {
        if (tensor.Count == 0)
            return (0, 0);
        var begin = (nuint)tensor.Pointer;
        return (begin, begin + checked((nuint)(tensor.Extent * Unsafe.SizeOf<T>())));
    }
}
