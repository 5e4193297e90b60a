using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using AttnCompose.Cpu;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>One query row that is asked for.</summary>
/// <param name="Batch">Sequence.</param>
/// <param name="QueryHead">Query head.</param>
/// <param name="Query">Row of the query tensor.</param>
/// <param name="Position">Where it stands among the keys; it sees keys up to there.</param>
/// <param name="KeyCount">How many keys take part: the first ones, or the first ones of a selection.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct ReferenceRow(int Batch, int QueryHead, int Query, int Position, int KeyCount);

/// <summary>
/// Attention in double by a plain kernel on the device, the truth for sizes at which <see cref="AttentionOracle"/> takes too
/// long; <see cref="ReferenceSuite"/> holds the two against each other.
/// </summary>
public sealed class DeviceReference : IDisposable
{
    private const string Entry = "reference_attention";

    private readonly CudaDevice _device;
    private readonly CudaModule _module;
    private readonly KernelArguments _arguments = new();

    /// <summary>Compiles the kernel for a device.</summary>
    public DeviceReference(CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        var options = new CompileOptions { Architecture = device.Architecture };
        _module = new CudaModule(device, KernelCompiler.Compile(Source, options));
    }

    /// <summary>The kernel's text.</summary>
    public static KernelSource Source
    {
        get
        {
            using Stream text = typeof(DeviceReference).Assembly.GetManifestResourceStream($"{Entry}.cu")
                ?? throw new InvalidOperationException($"{Entry}.cu is not in the assembly.");
            using var reader = new StreamReader(text, Encoding.UTF8);
            return new KernelSource(Entry, reader.ReadToEnd(), []);
        }
    }

    /// <summary>Causal attention of some rows; waits for the result.</summary>
    /// <param name="query">[batch, query heads, Lq, head dim], 16-bit elements, head dim at most 256.</param>
    /// <param name="key">[batch, key/value heads, Lk, head dim].</param>
    /// <param name="value">[batch, key/value heads, Lk, head dim].</param>
    /// <param name="rows">What is asked for.</param>
    /// <param name="selection">Which keys each head keeps; null for all.</param>
    /// <param name="roundsWeights">
    /// Whether weights are rounded to the element type before they meet the values: the yardstick of <see cref="Tolerance"/>,
    /// where matrix units multiply.
    /// </param>
    /// <returns>[rows, head dim], and the log-sum-exp of each row.</returns>
    public (double[] Output, double[] LogSumExp) Attend<T>(
        CudaTensor<T> query, CudaTensor<T> key, CudaTensor<T> value, ReadOnlySpan<ReferenceRow> rows,
        CudaTokenSelection? selection = null, bool roundsWeights = false)
        where T : unmanaged
    {
        if (rows.Length == 0) // every sequence of the call is empty
            return ([], []);
        int dim = (int)query.Lengths[3];
        if (Unsafe.SizeOf<T>() != 2 || dim > 256)
            throw new NotSupportedException($"The reference takes 16-bit elements and head dims up to 256; got {query}.");
        using CudaTensor<ReferenceRow> asked = CudaTensor.From(_device, rows);
        using CudaTensor<double> output = CudaTensor.Allocate<double>(_device, rows.Length, dim);
        using CudaTensor<double> logSumExp = CudaTensor.Allocate<double>(_device, rows.Length);
        output.FillBytes(0xFF);
        logSumExp.FillBytes(0xFF);
        _arguments.Clear();
        _arguments.Add(new Question
        {
            Query = View.Of(query), Key = View.Of(key), Value = View.Of(value),
            Rows = asked.Pointer,
            Positions = selection?.Positions.Pointer ?? 0, Capacity = selection?.Positions.Lengths[2] ?? 0,
            Output = output.Pointer, LogSumExp = logSumExp.Pointer,
            Scale = 1 / MathF.Sqrt(dim),
            QueryHeads = (int)query.Lengths[1], KeyValueHeads = (int)key.Lengths[1], HeadDim = dim,
            IsBFloat16 = ElementConvert.TypeOf<T>() == ElementType.BFloat16 ? 1 : 0, RoundsWeights = roundsWeights ? 1 : 0,
        });
        var grid = new LaunchGrid(rows.Length, 1, 1);
        _module.Kernel(Entry).Launch(in grid, _arguments, _device.DefaultStream);
        var results = new double[rows.Length * dim];
        var sums = new double[rows.Length];
        output.CopyTo(results);
        logSumExp.CopyTo(sums);
        return (results, sums);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _arguments.Dispose();
        _module.Dispose();
    }

    /// <summary><c>Tensor</c> of the device text.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct View(nint Data, long Batch, long Head, long Row)
    {
        public static View Of<T>(CudaTensor<T> tensor) where T : unmanaged =>
            new(tensor.Pointer, tensor.Strides[0], tensor.Strides[1], tensor.Strides[2]);
    }

    /// <summary><c>Question</c> of the device text, byte for byte.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Question
    {
        public View Query;
        public View Key;
        public View Value;
        public nint Rows;
        public nint Positions;
        public long Capacity;
        public nint Output;
        public nint LogSumExp;
        public double Scale;
        public int QueryHeads;
        public int KeyValueHeads;
        public int HeadDim;
        public int IsBFloat16;
        public int RoundsWeights;
        public int Reserved;
    }
}
