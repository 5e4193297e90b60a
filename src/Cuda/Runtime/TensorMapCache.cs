namespace AttnCompose.Cuda;

/// <summary>
/// The tensor maps of the last call, encoded again only when the tensors changed. A map is a view of [batch, heads, rows, dim]
/// as five dimensions, innermost first: columns of a slab, rows, slabs, heads, batch. One box is one tile: all slabs of
/// <c>BoxRows</c> rows, each slab swizzled in shared memory over its own width.
/// </summary>
internal sealed unsafe class TensorMapCache
{
    private const int ElementBytes = 2;

    private (CudaKernel? Kernel, nint Key, nint Value, DeviceStrides KeyStrides, DeviceStrides ValueStrides, ProblemShape Shape) _last;
    private DeviceTensorMaps _maps;

    public void Encode(CudaKernel kernel, in DeviceProblem problem, in ProblemShape shape, ElementType element, out DeviceTensorMaps maps)
    {
        var wanted = (kernel, problem.Key, problem.Value, problem.KeyStrides, problem.ValueStrides, shape);
        if (_last != wanted)
        {
            _last = default;
            fixed (DeviceTensorMaps* to = &_maps)
            {
                Encode(to->Key, kernel, problem.Key, problem.KeyStrides, in shape, element, "key");
                Encode(to->Value, kernel, problem.Value, problem.ValueStrides, in shape, element, "value");
            }
            _last = wanted;
        }
        maps = _maps;
    }

    private static void Encode(
        byte* map, CudaKernel kernel, nint address, in DeviceStrides strides, in ProblemShape shape, ElementType element, string name)
    {
        (int columns, int rows) = (kernel.Shape.BoxColumns, kernel.Shape.BoxRows);
        int slabs = shape.HeadDim / columns;
        ReadOnlySpan<ulong> dims =
            [(ulong)columns, (ulong)shape.KeyLength, (ulong)slabs, (ulong)shape.KeyValueHeads, (ulong)shape.Batch];
        ReadOnlySpan<ulong> bytes =
        [
            Bytes(strides.Row, shape.KeyLength), (ulong)(columns * ElementBytes),
            Bytes(strides.Head, shape.KeyValueHeads), Bytes(strides.Batch, shape.Batch),
        ];
        ReadOnlySpan<uint> box = [(uint)columns, (uint)rows, (uint)slabs, 1, 1];
        // CUtensorMapDataType and CUtensorMapSwizzle, with the driver's numbers.
        int type = element == ElementType.BFloat16 ? 9 : 6;
        int swizzle = (columns * ElementBytes) switch { 128 => 3, 64 => 2, _ => 1 };
        CudaContext context = kernel.Module.Device.Context;
        context.Check(
            context.Driver.EncodeTensorMap(map, type, address, dims, bytes, box, swizzle), "cuTensorMapEncodeTiled",
            $"{name} of {shape}; strides of batch, head and row are {strides.Batch}, {strides.Head} and {strides.Row} elements.");
    }

    // The stride of a dimension of length 1 is never used, but must be one that the driver takes.
    private static ulong Bytes(long stride, int length) => length > 1 ? (ulong)(stride * ElementBytes) : 16;
}
