using System.Numerics.Tensors;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>
/// Random tensors for the stages of a pipeline that take some from the caller: normal, and so small that a product with rows of
/// unit variance keeps that variance. Each is drawn by its name from the seed, so that one shape has one value.
/// </summary>
public sealed class DrawnTensors
{
    private readonly Dictionary<string, (float[] Data, nint[] Lengths)> _drawn = [];

    /// <summary>Draws the tensors of a pipeline for a problem.</summary>
    /// <exception cref="NotSupportedException">One of them is not of float.</exception>
    public DrawnTensors(IReadOnlyList<TensorPlan> tensors, in ProblemShape shape, int seed)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        foreach (TensorPlan tensor in tensors)
        {
            if (tensor.ElementType != "float")
                throw new NotSupportedException($"{tensor.Name} is of {tensor.ElementType}; only tensors of float can be drawn.");
            nint[] lengths = tensor.LengthsFor(in shape);
            var random = new Random(seed ^ tensor.Name.Sum(c => c * 31));
            double deviation = 1 / Math.Sqrt(Math.Max(1, Product(lengths[1..^1])));
            var data = new float[Product(lengths)];
            for (int i = 0; i < data.Length; i++)
            {
                data[i] = (float)(deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()))
                    * Math.Cos(2 * Math.PI * random.NextDouble()));
            }
            _drawn[tensor.Name] = (data, lengths);
        }

        static long Product(ReadOnlySpan<nint> lengths)
        {
            long product = 1;
            foreach (nint length in lengths)
                product *= length;
            return product;
        }
    }

    /// <summary>Whether there are any.</summary>
    public bool Any => _drawn.Count > 0;

    /// <summary>The part of a tensor that one index of its first dimension has, such as a query head's weights.</summary>
    public float[] Of(string name, int first)
    {
        (float[] data, nint[] lengths) = _drawn[name];
        int size = data.Length / (int)lengths[0];
        return data.AsSpan(first * size, size).ToArray();
    }

    /// <summary>The tensors as arguments of a call on host memory; null where there are none.</summary>
    public StageTensors? Host()
    {
        if (!Any)
            return null;
        var tensors = new StageTensors();
        foreach ((string name, (float[] data, nint[] lengths)) in _drawn)
            tensors.Set(name, Tensor.Create(data, lengths));
        return tensors;
    }

    /// <summary>Copies them to a device.</summary>
    public OnDevice CopyTo(CudaDevice device) => new(this, device);

    /// <summary>The tensors in device memory.</summary>
    public sealed class OnDevice : IDisposable
    {
        private readonly List<CudaTensor<float>> _memory = [];

        internal OnDevice(DrawnTensors drawn, CudaDevice device)
        {
            Tensors = drawn.Any ? new() : null;
            try
            {
                foreach ((string name, (float[] data, nint[] lengths)) in drawn._drawn)
                {
                    _memory.Add(CudaTensor.Allocate<float>(device, lengths));
                    _memory[^1].CopyFrom(data);
                    Tensors!.Set(name, _memory[^1]);
                }
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>The tensors as arguments of a call; null where there are none.</summary>
        public CudaStageTensors? Tensors { get; }

        /// <inheritdoc/>
        public void Dispose() => _memory.ForEach(tensor => tensor.Dispose());
    }
}
