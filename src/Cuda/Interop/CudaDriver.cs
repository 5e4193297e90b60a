using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Interop;

/// <summary>The functions of the CUDA driver that are used, under their own names.</summary>
internal static unsafe partial class CudaDriver
{
    // Runs before the first import is bound, so that the resolver is in place.
    static CudaDriver() => RuntimeHelpers.RunClassConstructor(typeof(NativeLibraries).TypeHandle);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuInit(uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDriverGetVersion(int* version);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDeviceGetCount(int* count);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDeviceGet(int* device, int ordinal);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDeviceGetName(byte* name, int length, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDeviceTotalMem_v2(nuint* bytes, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDeviceGetAttribute(int* value, int attribute, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDeviceGetPCIBusId(byte* id, int length, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDevicePrimaryCtxRetain(nint* context, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuDevicePrimaryCtxRelease_v2(int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuCtxGetCurrent(nint* context);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuCtxSetCurrent(nint context);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuCtxSynchronize();

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemGetInfo_v2(nuint* free, nuint* total);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemAlloc_v2(nint* pointer, nuint bytes);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemFree_v2(nint pointer);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemcpyHtoDAsync_v2(nint destination, void* source, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemcpyDtoHAsync_v2(void* destination, nint source, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemcpyDtoDAsync_v2(nint destination, nint source, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuMemsetD8Async(nint destination, byte value, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamCreateWithPriority(nint* stream, uint flags, int priority);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamDestroy_v2(nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamSynchronize(nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamQuery(nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamWaitEvent(nint stream, nint handle, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamIsCapturing(nint stream, int* status);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamBeginCapture_v2(nint stream, int mode);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuStreamEndCapture(nint stream, nint* graph);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuEventCreate(nint* handle, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuEventDestroy_v2(nint handle);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuEventRecord(nint handle, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuEventSynchronize(nint handle);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuEventElapsedTime(float* milliseconds, nint start, nint end);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGraphInstantiateWithFlags(nint* executable, nint graph, ulong flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGraphDestroy(nint graph);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGraphExecDestroy(nint executable);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGraphExecUpdate_v2(nint executable, nint graph, GraphUpdateInfo* info);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuModuleLoadData(nint* module, byte* image);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuModuleUnload(nint module);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuModuleGetFunction(nint* function, nint module, byte* name);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuModuleGetGlobal_v2(nint* pointer, nuint* bytes, nint module, byte* name);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuFuncGetAttribute(int* value, int attribute, nint function);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuFuncGetParamInfo(nint function, nuint index, nuint* offset, nuint* bytes);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuTensorMapEncodeTiled(
        void* map, int elementType, uint rank, nint address, ulong* dims, ulong* strides, uint* box, uint* elementStrides,
        int interleave, int swizzle, int promotion, int outOfBounds);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuLaunchKernelEx(LaunchConfig* config, nint function, void** parameters, void** extra);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGetErrorName(CudaResult result, byte** text);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CudaResult cuGetErrorString(CudaResult result, byte** text);
}
