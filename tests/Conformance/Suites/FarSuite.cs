using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>
/// Small tensors whose strides reach far: the last sequence, head or row of one of them lies past 2^31, 2^32 and 2^33 bytes, so
/// past 2^31 and 2^32 elements of 16 bits, inside one buffer of 10 GB that is poisoned elsewhere. Every result is, to the bit,
/// that of compact tensors. By each tensor, each stride, both pipelines and both main loops.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="farthest">The largest offset that is reached, bytes; half and a quarter of it are reached too.</param>
public sealed class FarSuite(CudaDevice device, long farthest = 1L << 33)
{
    private const int Apart = 4096; // bytes between tensors; strides that were rounded up shift their far ends by less

    private static readonly string[] s_dimensions = ["batch", "head", "row"];

    private enum Place
    {
        Query,
        Key,
        Value,
        Inputs, // query, key and value, one behind the other inside the gaps
        Output,
        LogSumExp,
    }

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        using CudaTensor<byte> buffer = CudaTensor.Allocate<byte>(device, (nint)(farthest + farthest / 6));
        foreach (bool sparse in (bool[])[false, true])
        {
            // 64 has the loop of sm_90a, 40 the portable one.
            IEnumerable<SuiteCheck> hopper = Run<BFloat16>(buffer, sparse, headDim: 64), portable = Run<float>(buffer, sparse, headDim: 40);
            foreach (SuiteCheck check in hopper.Concat(portable))
                yield return check;
        }
    }

    private IEnumerable<SuiteCheck> Run<TOut>(CudaTensor<byte> buffer, bool sparse, int headDim)
        where TOut : unmanaged
    {
        var shape = new SuiteShape(Batch: 2, QueryHeads: 4, KeyValueHeads: 2, Length: 200, headDim);
        using var tensors = new CompactTensors<BFloat16, TOut>(device, shape, seed: 21);
        using ICudaAttentionPipeline pipeline = sparse
            ? TokenSparsePrefill.Create(device, new() { Coverage = 0.3, MinTokens = 8 })
            : DenseAttention.Create(device);
        SuiteResult<TOut>? compact = null;
        string kind = $"{(sparse ? "token-sparse" : "dense")} d={headDim}";
        yield return SuiteCheck.Of($"{kind}: compact", () =>
        {
            SuiteResult<TOut> result = tensors.Run(pipeline);
            string? poison = result.Poison();
            compact = poison is null ? result : null;
            return poison;
        });
        for (int dimension = 0; compact is not null && dimension < s_dimensions.Length; dimension++)
        {
            for (long offset = farthest; offset >= farthest / 4; offset /= 2)
            {
                foreach (Place place in Enum.GetValues<Place>())
                {
                    if (device.Fault is not null)
                        yield break;
                    // Just before, at and behind the offset where one stride alone decides.
                    foreach (int shift in dimension == 0 ? (int[])[-16, 0, 16] : [0])
                    {
                        (int far, long bytes) = (dimension, offset + shift);
                        yield return SuiteCheck.Of(
                            $"{kind}: {place} with a {s_dimensions[far]} stride that reaches {bytes} bytes",
                            () => Check(buffer, tensors, pipeline, compact, place, far, bytes));
                    }
                }
            }
        }
    }

    private static string? Check<TOut>(
        CudaTensor<byte> buffer, CompactTensors<BFloat16, TOut> tensors, ICudaAttentionPipeline pipeline,
        SuiteResult<TOut> compact, Place place, int far, long bytes)
        where TOut : unmanaged
    {
        SuiteShape shape = tensors.Shape;
        CudaAttentionArguments<BFloat16, TOut> arguments = tensors.Arguments;
        tensors.Output.FillBytes(0xFF);
        tensors.LogSumExp.FillBytes(0xFF);
        buffer.FillBytes(0xFF);
        long begin = 0;
        if (place is Place.Query or Place.Inputs)
            arguments = arguments with { Query = Input(shape.QueryHeads, tensors.HostQuery) };
        if (place is Place.Key or Place.Inputs)
            arguments = arguments with { Key = Input(shape.KeyValueHeads, tensors.HostKey) };
        if (place is Place.Value or Place.Inputs)
            arguments = arguments with { Value = Input(shape.KeyValueHeads, tensors.HostValue) };
        FarTensor<TOut>? output = null;
        FarTensor<float>? logSumExp = null;
        if (place == Place.Output)
        {
            output = new(buffer, 0, shape.Batch, shape.QueryHeads, shape.Length, shape.HeadDim, far, bytes);
            arguments = arguments with { Output = output.View(4) };
        }
        if (place == Place.LogSumExp)
        {
            logSumExp = new(buffer, 0, shape.Batch, shape.QueryHeads, shape.Length, 1, far, bytes);
            arguments = arguments with { LogSumExp = logSumExp.View(3) };
        }
        pipeline.Run(in arguments);
        SuiteResult<TOut> result = SuiteResult<TOut>.Of(tensors.Output, tensors.LogSumExp);
        return compact.Difference(new(output?.Download() ?? result.Output, logSumExp?.Download() ?? result.LogSumExp));

        CudaTensor<BFloat16> Input(int heads, BFloat16[] host)
        {
            var tensor = new FarTensor<BFloat16>(buffer, begin, shape.Batch, heads, shape.Length, shape.HeadDim, far, bytes);
            begin += tensor.InnerBytes + Apart;
            tensor.Upload(host);
            return tensor.View(4);
        }
    }

    /// <summary>A tensor of which one dimension has a large stride; within one index of that dimension it has no gaps.</summary>
    private sealed class FarTensor<T>
        where T : unmanaged
    {
        private const int AlignedElements = 8; // 16 bytes of 16-bit elements

        private readonly CudaTensor<byte> _buffer;
        private readonly long _begin;
        private readonly nint[] _lengths;
        private readonly nint[] _strides;
        private readonly int _far;
        private readonly int _inner; // elements within one index of the far dimension

        public FarTensor(
            CudaTensor<byte> buffer, long begin, int batch, int heads, int rows, int dim, int far, long bytes)
        {
            (_buffer, _begin, _far) = (buffer, begin, far);
            _lengths = [batch, heads, rows, dim];
            _inner = checked((int)(_lengths[0] * _lengths[1] * _lengths[2] * _lengths[3] / _lengths[far]));
            _strides = [0, 0, 0, 1];
            nint stride = dim;
            for (int i = 2; i >= 0; i--)
            {
                if (i == far)
                    continue;
                (_strides[i], stride) = (stride, stride * _lengths[i]);
            }
            long apart = (bytes / Size + _lengths[far] - 2) / (_lengths[far] - 1);
            _strides[far] = (nint)((apart + AlignedElements - 1) / AlignedElements * AlignedElements);
        }

        private static unsafe int Size => sizeof(T);

        public long InnerBytes => (long)_inner * Size;

        public CudaTensor<T> View(int rank) => CudaTensor.View<T>(
            _buffer.Device, _buffer.Pointer + (nint)_begin, _lengths.AsSpan(0, rank), _strides.AsSpan(0, rank));

        /// <summary>From [batch, heads, rows, dim] without gaps.</summary>
        public void Upload(T[] host)
        {
            T[] moved = Moved(host, isBack: false);
            for (int i = 0; i < _lengths[_far]; i++)
                Part(i).CopyFrom(moved.AsSpan(i * _inner, _inner));
        }

        public T[] Download()
        {
            var moved = new T[_inner * _lengths[_far]];
            for (int i = 0; i < _lengths[_far]; i++)
                Part(i).CopyTo(moved.AsSpan(i * _inner, _inner));
            return Moved(moved, isBack: true);
        }

        private CudaTensor<T> Part(int i)
        {
            long at = _begin + i * (long)_strides[_far] * Size;
            if (at + InnerBytes > _buffer.Count)
                throw new InvalidOperationException($"The buffer of {_buffer.Count} bytes does not hold {at + InnerBytes}.");
            return CudaTensor.View<T>(_buffer.Device, _buffer.Pointer + (nint)at, [_inner], [1]);
        }

        /// <summary>Between [batch, heads, rows, dim] and an order with the far dimension outermost.</summary>
        private T[] Moved(T[] from, bool isBack)
        {
            var to = new T[from.Length];
            int dim = (int)_lengths[3], plain = 0;
            for (int b = 0; b < _lengths[0]; b++)
            {
                for (int h = 0; h < _lengths[1]; h++)
                {
                    for (int r = 0; r < _lengths[2]; r++, plain += dim)
                    {
                        int moved = 0;
                        ReadOnlySpan<int> index = [b, h, r];
                        for (int i = 0; i < 3; i++)
                            moved += index[i] * (i == _far ? _inner : (int)_strides[i]);
                        from.AsSpan(isBack ? moved : plain, dim).CopyTo(to.AsSpan(isBack ? plain : moved, dim));
                    }
                }
            }
            return to;
        }
    }
}
