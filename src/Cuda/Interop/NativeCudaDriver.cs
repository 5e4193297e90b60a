using System.Runtime.InteropServices;
using System.Text;
using static AttnCompose.Cuda.Interop.CudaDriver;

namespace AttnCompose.Cuda.Interop;

/// <summary>The driver that is installed.</summary>
internal sealed unsafe class NativeCudaDriver : CudaDriverApi
{
    private static readonly Lazy<NativeCudaDriver> s_instance = new(Load);

    private NativeCudaDriver()
    {
    }

    /// <summary>The driver, initialised.</summary>
    /// <exception cref="CudaUnavailableException">There is none, or it has no device.</exception>
    public static NativeCudaDriver Instance => s_instance.Value;

    private static NativeCudaDriver Load()
    {
        NativeLibraryProbe probe = NativeLibraries.DriverProbe;
        if (probe.Handle == 0)
            throw new CudaUnavailableException(
                "There is no CUDA driver on this machine: no NVIDIA GPU can be used.", probe.Tried);
        var driver = new NativeCudaDriver();
        CudaResult result = driver.Init();
        if (result != CudaResult.Success)
        {
            (string name, string description) = driver.Describe(result);
            throw new CudaUnavailableException(
                $"The CUDA driver {probe.Path} does not start: {name} ({(int)result}), {description}.");
        }
        return driver;
    }

    public override CudaResult Init() => cuInit(0);

    public override CudaResult DriverVersion(out int version)
    {
        fixed (int* to = &version)
            return cuDriverGetVersion(to);
    }

    public override CudaResult DeviceCount(out int count)
    {
        fixed (int* to = &count)
            return cuDeviceGetCount(to);
    }

    public override CudaResult DeviceGet(out int device, int ordinal)
    {
        fixed (int* to = &device)
            return cuDeviceGet(to, ordinal);
    }

    public override CudaResult DeviceName(Span<byte> name, int device)
    {
        fixed (byte* to = name)
            return cuDeviceGetName(to, name.Length, device);
    }

    public override CudaResult DeviceTotalMemory(out nuint bytes, int device)
    {
        fixed (nuint* to = &bytes)
            return cuDeviceTotalMem_v2(to, device);
    }

    public override CudaResult GetDeviceAttribute(out int value, DeviceAttribute attribute, int device)
    {
        fixed (int* to = &value)
            return cuDeviceGetAttribute(to, (int)attribute, device);
    }

    public override CudaResult DeviceBusId(Span<byte> id, int device)
    {
        fixed (byte* to = id)
            return cuDeviceGetPCIBusId(to, id.Length, device);
    }

    public override CudaResult PrimaryContextRetain(out nint context, int device)
    {
        fixed (nint* to = &context)
            return cuDevicePrimaryCtxRetain(to, device);
    }

    public override CudaResult PrimaryContextRelease(int device) => cuDevicePrimaryCtxRelease_v2(device);

    public override CudaResult ContextGetCurrent(out nint context)
    {
        fixed (nint* to = &context)
            return cuCtxGetCurrent(to);
    }

    public override CudaResult ContextSetCurrent(nint context) => cuCtxSetCurrent(context);

    public override CudaResult ContextSynchronize() => cuCtxSynchronize();

    public override CudaResult MemoryInfo(out nuint free, out nuint total)
    {
        fixed (nuint* toFree = &free, toTotal = &total)
            return cuMemGetInfo_v2(toFree, toTotal);
    }

    public override CudaResult MemoryAllocate(out nint pointer, nuint bytes)
    {
        fixed (nint* to = &pointer)
            return cuMemAlloc_v2(to, bytes);
    }

    public override CudaResult MemoryFree(nint pointer) => cuMemFree_v2(pointer);

    public override CudaResult CopyToDevice(nint destination, void* source, nuint bytes, nint stream) =>
        cuMemcpyHtoDAsync_v2(destination, source, bytes, stream);

    public override CudaResult CopyToHost(void* destination, nint source, nuint bytes, nint stream) =>
        cuMemcpyDtoHAsync_v2(destination, source, bytes, stream);

    public override CudaResult CopyOnDevice(nint destination, nint source, nuint bytes, nint stream) =>
        cuMemcpyDtoDAsync_v2(destination, source, bytes, stream);

    public override CudaResult Fill(nint destination, byte value, nuint bytes, nint stream) =>
        cuMemsetD8Async(destination, value, bytes, stream);

    public override CudaResult StreamCreate(out nint stream, uint flags, int priority)
    {
        fixed (nint* to = &stream)
            return cuStreamCreateWithPriority(to, flags, priority);
    }

    public override CudaResult StreamDestroy(nint stream) => cuStreamDestroy_v2(stream);

    public override CudaResult StreamSynchronize(nint stream) => cuStreamSynchronize(stream);

    public override CudaResult StreamQuery(nint stream) => cuStreamQuery(stream);

    public override CudaResult StreamWaitEvent(nint stream, nint handle) => cuStreamWaitEvent(stream, handle, 0);

    public override CudaResult StreamIsCapturing(nint stream, out int status)
    {
        fixed (int* to = &status)
            return cuStreamIsCapturing(stream, to);
    }

    public override CudaResult StreamBeginCapture(nint stream, int mode) => cuStreamBeginCapture_v2(stream, mode);

    public override CudaResult StreamEndCapture(nint stream, out nint graph)
    {
        fixed (nint* to = &graph)
            return cuStreamEndCapture(stream, to);
    }

    public override CudaResult EventCreate(out nint handle, uint flags)
    {
        fixed (nint* to = &handle)
            return cuEventCreate(to, flags);
    }

    public override CudaResult EventDestroy(nint handle) => cuEventDestroy_v2(handle);

    public override CudaResult EventRecord(nint handle, nint stream) => cuEventRecord(handle, stream);

    public override CudaResult EventSynchronize(nint handle) => cuEventSynchronize(handle);

    public override CudaResult EventElapsed(out float milliseconds, nint start, nint end)
    {
        fixed (float* to = &milliseconds)
            return cuEventElapsedTime(to, start, end);
    }

    public override CudaResult GraphInstantiate(out nint executable, nint graph)
    {
        fixed (nint* to = &executable)
            return cuGraphInstantiateWithFlags(to, graph, 0);
    }

    public override CudaResult GraphDestroy(nint graph) => cuGraphDestroy(graph);

    public override CudaResult GraphExecutableDestroy(nint executable) => cuGraphExecDestroy(executable);

    public override CudaResult GraphLaunch(nint executable, nint stream) => cuGraphLaunch(executable, stream);

    public override CudaResult GraphUpdate(nint executable, nint graph)
    {
        GraphUpdateInfo info;
        return cuGraphExecUpdate_v2(executable, graph, &info);
    }

    public override CudaResult ModuleLoad(out nint module, ReadOnlySpan<byte> image)
    {
        fixed (nint* to = &module)
        fixed (byte* bytes = image)
            return cuModuleLoadData(to, bytes);
    }

    public override CudaResult ModuleUnload(nint module) => cuModuleUnload(module);

    public override CudaResult ModuleGetFunction(out nint function, nint module, string name)
    {
        fixed (nint* to = &function)
        fixed (byte* text = Utf8Text.Terminated(name))
            return cuModuleGetFunction(to, module, text);
    }

    public override CudaResult ModuleGetGlobal(out nint pointer, out nuint bytes, nint module, string name)
    {
        fixed (nint* to = &pointer)
        fixed (nuint* size = &bytes)
        fixed (byte* text = Utf8Text.Terminated(name))
            return cuModuleGetGlobal_v2(to, size, module, text);
    }

    public override CudaResult GetFunctionAttribute(out int value, FunctionAttribute attribute, nint function)
    {
        fixed (int* to = &value)
            return cuFuncGetAttribute(to, (int)attribute, function);
    }

    public override CudaResult SetFunctionAttribute(nint function, FunctionAttribute attribute, int value) =>
        cuFuncSetAttribute(function, (int)attribute, value);

    public override CudaResult FunctionParameter(out nuint offset, out nuint bytes, nint function, int index)
    {
        (offset, bytes) = (0, 0);
        if (!NativeLibrary.TryGetExport(NativeLibraries.DriverProbe.Handle, nameof(cuFuncGetParamInfo), out _))
            return CudaResult.NotFound;
        fixed (nuint* toOffset = &offset, toBytes = &bytes)
            return cuFuncGetParamInfo(function, (nuint)index, toOffset, toBytes);
    }

    public override CudaResult EncodeTensorMap(
        void* map, int elementType, nint address, ReadOnlySpan<ulong> dims, ReadOnlySpan<ulong> strides, ReadOnlySpan<uint> box, int swizzle)
    {
        const int Promotion256Bytes = 3;
        Span<uint> everyElement = stackalloc uint[dims.Length];
        everyElement.Fill(1);
        fixed (ulong* toDims = dims, toStrides = strides)
        fixed (uint* toBox = box, toSteps = everyElement)
        {
            return cuTensorMapEncodeTiled(
                map, elementType, (uint)dims.Length, address, toDims, toStrides, toBox, toSteps,
                interleave: 0, swizzle, Promotion256Bytes, outOfBounds: 0);
        }
    }

    public override CudaResult Launch(in LaunchConfig config, nint function, KernelArguments arguments)
    {
        void** addresses = stackalloc void*[arguments.Count];
        for (int i = 0; i < arguments.Count; i++)
            addresses[i] = (byte*)arguments.Pointer + arguments.Places[i].Offset;
        fixed (LaunchConfig* pinned = &config)
            return cuLaunchKernelEx(pinned, function, addresses, null);
    }

    public override (string Name, string Description) Describe(CudaResult result)
    {
        byte* name = null;
        byte* description = null;
        cuGetErrorName(result, &name);
        cuGetErrorString(result, &description);
        return (Utf8Text.Read(name, "unknown error"), Utf8Text.Read(description, ""));
    }
}

/// <summary>Text as C wants it.</summary>
internal static unsafe class Utf8Text
{
    public static byte[] Terminated(string text)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
        Encoding.UTF8.GetBytes(text, bytes);
        return bytes;
    }

    public static string Read(byte* text, string otherwise) =>
        text == null ? otherwise : Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));
}
