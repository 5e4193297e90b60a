namespace AttnCompose.Cuda.Interop;

/// <summary>
/// What the runtime asks of a CUDA driver. The one implementation for use is <see cref="NativeCudaDriver"/>; the tests have
/// one on host memory, so that everything above can be tried without a GPU. Handles are addresses, 0 for none.
/// </summary>
internal abstract unsafe class CudaDriverApi
{
    public abstract CudaResult Init();
    public abstract CudaResult DriverVersion(out int version);
    public abstract CudaResult DeviceCount(out int count);
    public abstract CudaResult DeviceGet(out int device, int ordinal);
    public abstract CudaResult DeviceName(Span<byte> name, int device);
    public abstract CudaResult DeviceTotalMemory(out nuint bytes, int device);
    public abstract CudaResult GetDeviceAttribute(out int value, DeviceAttribute attribute, int device);
    public abstract CudaResult DeviceBusId(Span<byte> id, int device);

    public abstract CudaResult PrimaryContextRetain(out nint context, int device);
    public abstract CudaResult PrimaryContextRelease(int device);
    public abstract CudaResult ContextGetCurrent(out nint context);
    public abstract CudaResult ContextSetCurrent(nint context);
    public abstract CudaResult ContextSynchronize();

    public abstract CudaResult MemoryInfo(out nuint free, out nuint total);
    public abstract CudaResult MemoryAllocate(out nint pointer, nuint bytes);
    public abstract CudaResult MemoryFree(nint pointer);
    public abstract CudaResult CopyToDevice(nint destination, void* source, nuint bytes, nint stream);
    public abstract CudaResult CopyToHost(void* destination, nint source, nuint bytes, nint stream);
    public abstract CudaResult CopyOnDevice(nint destination, nint source, nuint bytes, nint stream);
    public abstract CudaResult Fill(nint destination, byte value, nuint bytes, nint stream);

    public abstract CudaResult StreamCreate(out nint stream, uint flags, int priority);
    public abstract CudaResult StreamDestroy(nint stream);
    public abstract CudaResult StreamSynchronize(nint stream);
    public abstract CudaResult StreamQuery(nint stream);
    public abstract CudaResult StreamWaitEvent(nint stream, nint handle);
    public abstract CudaResult StreamIsCapturing(nint stream, out int status);
    public abstract CudaResult StreamBeginCapture(nint stream, int mode);
    public abstract CudaResult StreamEndCapture(nint stream, out nint graph);

    public abstract CudaResult EventCreate(out nint handle, uint flags);
    public abstract CudaResult EventDestroy(nint handle);
    public abstract CudaResult EventRecord(nint handle, nint stream);
    public abstract CudaResult EventSynchronize(nint handle);
    public abstract CudaResult EventElapsed(out float milliseconds, nint start, nint end);

    public abstract CudaResult GraphInstantiate(out nint executable, nint graph);
    public abstract CudaResult GraphDestroy(nint graph);
    public abstract CudaResult GraphExecutableDestroy(nint executable);
    public abstract CudaResult GraphLaunch(nint executable, nint stream);

    /// <summary>
    /// Gives an executable the arguments of another graph; GraphUpdateFailure, and nothing changed, where the graphs differ in
    /// more than arguments.
    /// </summary>
    public abstract CudaResult GraphUpdate(nint executable, nint graph);

    public abstract CudaResult ModuleLoad(out nint module, ReadOnlySpan<byte> image);
    public abstract CudaResult ModuleUnload(nint module);
    public abstract CudaResult ModuleGetFunction(out nint function, nint module, string name);
    public abstract CudaResult ModuleGetGlobal(out nint pointer, out nuint bytes, nint module, string name);
    public abstract CudaResult GetFunctionAttribute(out int value, FunctionAttribute attribute, nint function);
    public abstract CudaResult SetFunctionAttribute(nint function, FunctionAttribute attribute, int value);

    /// <summary>
    /// Where parameter <paramref name="index"/> lies and its size; InvalidValue past the last one, which a checking tool
    /// reports, NotFound on a driver before 12.4.
    /// </summary>
    public abstract CudaResult FunctionParameter(out nuint offset, out nuint bytes, nint function, int index);

    /// <summary>
    /// Encodes a map of a tensor for the copy engine: rank from <paramref name="dims"/>, strides in bytes of all dimensions but
    /// the first, zeroes out of bounds, 256-byte promotion.
    /// </summary>
    public abstract CudaResult EncodeTensorMap(
        void* map, int elementType, nint address, ReadOnlySpan<ulong> dims, ReadOnlySpan<ulong> strides, ReadOnlySpan<uint> box, int swizzle);

    /// <summary>
    /// Each argument is handed over by address and the driver lays them out: where one lies in the kernel's parameter space
    /// depends on the architecture as soon as one asks for more than 16 bytes of alignment.
    /// </summary>
    public abstract CudaResult Launch(in LaunchConfig config, nint function, KernelArguments arguments);

    public abstract (string Name, string Description) Describe(CudaResult result);
}

/// <summary>Attributes of a device that are asked for, with the driver's numbers.</summary>
internal enum DeviceAttribute
{
    MaxThreadsPerBlock = 1,
    MultiprocessorCount = 16,
    Integrated = 18,
    L2CacheBytes = 38,
    ComputeCapabilityMajor = 75,
    ComputeCapabilityMinor = 76,
    MaxSharedBytesPerBlockOptIn = 97,
}

/// <summary>Attributes of a kernel that are asked for or set, with the driver's numbers.</summary>
internal enum FunctionAttribute
{
    MaxThreadsPerBlock = 0,
    StaticSharedBytes = 1,
    LocalBytes = 3,
    Registers = 4,
    MaxDynamicSharedBytes = 8,
}

/// <summary>CUgraphExecUpdateResultInfo: why a graph was not taken, and the nodes at fault. 24 bytes.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Sequential)]
internal struct GraphUpdateInfo
{
    public int Result;
    public nint Node;
    public nint FromNode;
}

/// <summary>CUlaunchConfig: grid, block, dynamic shared memory, stream, attributes. 56 bytes.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Sequential)]
internal struct LaunchConfig
{
    public uint GridX;
    public uint GridY;
    public uint GridZ;
    public uint BlockX;
    public uint BlockY;
    public uint BlockZ;
    public uint SharedBytes;
    public nint Stream;
    public nint Attributes;
    public uint AttributeCount;
}

/// <summary>CUlaunchAttribute: what it is, and 64 bytes of value. 72 bytes.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Sequential, Size = 72)]
internal struct LaunchAttribute
{
    private const int ClusterDimension = 4;
    private const int ProgrammaticStreamSerialization = 6;

    public int Id;
    private readonly int _padding;
    public uint X;
    public uint Y;
    public uint Z;

    /// <summary>So many blocks along X are one cluster.</summary>
    public static LaunchAttribute Cluster(uint blocks) => new() { Id = ClusterDimension, X = blocks, Y = 1, Z = 1 };

    /// <summary>The kernel may start before the one ahead of it on the stream has ended.</summary>
    public static LaunchAttribute MayStartEarly => new() { Id = ProgrammaticStreamSerialization, X = 1 };
}
