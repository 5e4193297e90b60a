using System.Runtime.InteropServices;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda.Tests;

/// <summary>A kernel of the fake driver: what it exports, and what it does on host memory.</summary>
internal sealed class FakeKernel
{
    public LaunchShape Shape { get; set; } = new(128, 64, 0);

    public int StaticSharedBytes { get; init; }

    /// <summary>Offsets and sizes of its parameters; null where the driver cannot tell.</summary>
    public (int Offset, int Bytes)[]? Parameters { get; init; }

    public List<(LaunchConfig Config, byte[] Arguments)> Launches { get; } = [];

    public Action<byte[]>? Body { get; init; }
}

/// <summary>A driver whose device memory is host memory and whose kernels are C#. Every call can be made to fail.</summary>
internal sealed unsafe class FakeDriver : CudaDriverApi
{
    private readonly List<object> _handles = [new()]; // a handle is an index; 0 is none
    [ThreadStatic]
    private static nint t_current;

    public Dictionary<string, FakeKernel> Kernels { get; } = [];

    /// <summary>Calls that fail, and how.</summary>
    public Dictionary<string, CudaResult> Failures { get; } = [];

    /// <summary>Every call, by name.</summary>
    public List<string> Calls { get; } = [];

    public Dictionary<nint, nuint> Allocations { get; } = [];

    public int Retained { get; private set; }

    public (int Major, int Minor) Capability { get; init; } = (9, 0);

    public int Devices { get; init; } = 1;

    public bool Capturing { get; set; }

    public bool Records { get; set; } = true;

    public List<(nint Module, byte[] Image)> Modules { get; } = [];

    /// <summary>
    /// Whether modules are real device code, whose kernels are read from it. They do nothing when they are launched.
    /// </summary>
    public bool ReadsCubins { get; init; }

    private CudaResult Note(string call)
    {
        if (Records)
            Calls.Add(call);
        return Failures.GetValueOrDefault(call);
    }

    /// <summary>Notes a call that the driver takes only on a thread whose current context is this device's.</summary>
    private CudaResult NoteInContext(string call)
    {
        CudaResult result = Note(call);
        return t_current is >= 7100 and < 7200 ? result : CudaResult.InvalidContext;
    }

    private nint New(object value)
    {
        _handles.Add(value);
        return _handles.Count - 1;
    }

    public override CudaResult Init() => Note(nameof(Init));

    public override CudaResult DriverVersion(out int version)
    {
        version = 13_000;
        return Note(nameof(DriverVersion));
    }

    public override CudaResult DeviceCount(out int count)
    {
        count = Devices;
        return Note(nameof(DeviceCount));
    }

    public override CudaResult DeviceGet(out int device, int ordinal)
    {
        device = ordinal + 100;
        return Note(nameof(DeviceGet));
    }

    public override CudaResult DeviceName(Span<byte> name, int device)
    {
        "Fake GPU\0"u8.CopyTo(name);
        return Note(nameof(DeviceName));
    }

    public override CudaResult DeviceTotalMemory(out nuint bytes, int device)
    {
        bytes = (nuint)1 << 30;
        return Note(nameof(DeviceTotalMemory));
    }

    public override CudaResult GetDeviceAttribute(out int value, DeviceAttribute attribute, int device)
    {
        value = attribute switch
        {
            DeviceAttribute.ComputeCapabilityMajor => Capability.Major,
            DeviceAttribute.ComputeCapabilityMinor => Capability.Minor,
            DeviceAttribute.MultiprocessorCount => 132,
            DeviceAttribute.MaxSharedBytesPerBlockOptIn => 227 * 1024,
            _ => 1024,
        };
        return Note(nameof(GetDeviceAttribute));
    }

    public override CudaResult DeviceBusId(Span<byte> id, int device)
    {
        "0000:00:00.0\0"u8.CopyTo(id);
        return Note(nameof(DeviceBusId));
    }

    public override CudaResult PrimaryContextRetain(out nint context, int device)
    {
        context = 7000 + device;
        Retained++;
        return Note(nameof(PrimaryContextRetain));
    }

    public override CudaResult PrimaryContextRelease(int device)
    {
        Retained--;
        return Note(nameof(PrimaryContextRelease));
    }

    public override CudaResult ContextGetCurrent(out nint context)
    {
        context = t_current;
        return CudaResult.Success;
    }

    public override CudaResult ContextSetCurrent(nint context)
    {
        t_current = context;
        return Note(nameof(ContextSetCurrent));
    }

    public override CudaResult ContextSynchronize() => Note(nameof(ContextSynchronize));

    public override CudaResult MemoryInfo(out nuint free, out nuint total)
    {
        (free, total) = (12345, (nuint)1 << 30);
        return CudaResult.Success;
    }

    public override CudaResult MemoryAllocate(out nint pointer, nuint bytes)
    {
        CudaResult result = NoteInContext(nameof(MemoryAllocate));
        pointer = 0;
        if (result != CudaResult.Success)
            return result;
        pointer = (nint)NativeMemory.AlignedAlloc(bytes, 256);
        NativeMemory.Fill((void*)pointer, bytes, 0xCD); // what is not written must not matter
        lock (Allocations)
            Allocations.Add(pointer, bytes);
        return CudaResult.Success;
    }

    public override CudaResult MemoryFree(nint pointer)
    {
        CudaResult result = NoteInContext(nameof(MemoryFree));
        if (result == CudaResult.InvalidContext)
            return result;
        lock (Allocations)
        {
            if (!Allocations.Remove(pointer))
                return CudaResult.InvalidValue;
        }
        NativeMemory.AlignedFree((void*)pointer);
        return result;
    }

    public override CudaResult CopyToDevice(nint destination, void* source, nuint bytes, nint stream)
    {
        NativeMemory.Copy(source, (void*)destination, bytes);
        return NoteInContext(nameof(CopyToDevice));
    }

    public override CudaResult CopyToHost(void* destination, nint source, nuint bytes, nint stream)
    {
        NativeMemory.Copy((void*)source, destination, bytes);
        return NoteInContext(nameof(CopyToHost));
    }

    public override CudaResult CopyOnDevice(nint destination, nint source, nuint bytes, nint stream)
    {
        NativeMemory.Copy((void*)source, (void*)destination, bytes);
        return Note(nameof(CopyOnDevice));
    }

    public override CudaResult Fill(nint destination, byte value, nuint bytes, nint stream)
    {
        NativeMemory.Fill((void*)destination, bytes, value);
        return NoteInContext(nameof(Fill));
    }

    public override CudaResult StreamCreate(out nint stream, uint flags, int priority)
    {
        stream = New("stream");
        return NoteInContext(nameof(StreamCreate));
    }

    public override CudaResult StreamDestroy(nint stream) => NoteInContext(nameof(StreamDestroy));

    public override CudaResult StreamSynchronize(nint stream) => Note(nameof(StreamSynchronize));

    public override CudaResult StreamQuery(nint stream) => Note(nameof(StreamQuery));

    public override CudaResult StreamWaitEvent(nint stream, nint handle) => Note(nameof(StreamWaitEvent));

    public override CudaResult StreamIsCapturing(nint stream, out int status)
    {
        status = Capturing ? 1 : 0;
        return CudaResult.Success;
    }

    public override CudaResult StreamBeginCapture(nint stream, int mode)
    {
        Capturing = true;
        return Note(nameof(StreamBeginCapture));
    }

    public override CudaResult StreamEndCapture(nint stream, out nint graph)
    {
        Capturing = false;
        graph = New("graph");
        return Note(nameof(StreamEndCapture));
    }

    public override CudaResult EventCreate(out nint handle, uint flags)
    {
        handle = New("event");
        return NoteInContext(nameof(EventCreate));
    }

    public override CudaResult EventDestroy(nint handle) => Note(nameof(EventDestroy));

    public override CudaResult EventRecord(nint handle, nint stream) => Note(nameof(EventRecord));

    public override CudaResult EventSynchronize(nint handle) => Note(nameof(EventSynchronize));

    public override CudaResult EventElapsed(out float milliseconds, nint start, nint end)
    {
        milliseconds = 1.5f;
        return Note(nameof(EventElapsed));
    }

    public override CudaResult GraphInstantiate(out nint executable, nint graph)
    {
        executable = New("executable");
        return Note(nameof(GraphInstantiate));
    }

    public override CudaResult GraphDestroy(nint graph) => Note(nameof(GraphDestroy));

    public override CudaResult GraphExecutableDestroy(nint executable) => Note(nameof(GraphExecutableDestroy));

    public override CudaResult GraphLaunch(nint executable, nint stream) => Note(nameof(GraphLaunch));

    public override CudaResult ModuleLoad(out nint module, ReadOnlySpan<byte> image)
    {
        module = New("module");
        Modules.Add((module, image.ToArray()));
        if (ReadsCubins)
        {
            foreach ((string name, FakeKernel kernel) in Cubin.Kernels(image))
                Kernels[name] = kernel;
        }
        return NoteInContext(nameof(ModuleLoad));
    }

    public override CudaResult ModuleUnload(nint module) => NoteInContext(nameof(ModuleUnload));

    public override CudaResult ModuleGetFunction(out nint function, nint module, string name)
    {
        bool found = Kernels.TryGetValue(name, out FakeKernel? kernel);
        function = found ? New(kernel!) : 0;
        return found ? Note(nameof(ModuleGetFunction)) : CudaResult.NotFound;
    }

    public override CudaResult ModuleGetGlobal(out nint pointer, out nuint bytes, nint module, string name)
    {
        (pointer, bytes) = (0, 0);
        if (!name.EndsWith("_shape", StringComparison.Ordinal) || !Kernels.TryGetValue(name[..^6], out FakeKernel? kernel))
            return CudaResult.NotFound;
        LaunchShape[] shape = GC.AllocateArray<LaunchShape>(1, pinned: true);
        shape[0] = kernel.Shape;
        New(shape); // keeps it
        (pointer, bytes) = (Marshal.UnsafeAddrOfPinnedArrayElement(shape, 0), (nuint)sizeof(LaunchShape));
        return NoteInContext(nameof(ModuleGetGlobal));
    }

    public override CudaResult GetFunctionAttribute(out int value, FunctionAttribute attribute, nint function)
    {
        var kernel = (FakeKernel)_handles[(int)function];
        value = attribute switch
        {
            FunctionAttribute.MaxThreadsPerBlock => 1024,
            FunctionAttribute.StaticSharedBytes => kernel.StaticSharedBytes,
            _ => 32,
        };
        return Note(nameof(GetFunctionAttribute));
    }

    public override CudaResult SetFunctionAttribute(nint function, FunctionAttribute attribute, int value) =>
        Note($"{nameof(SetFunctionAttribute)}({attribute}, {value})");

    public override CudaResult FunctionParameter(out nuint offset, out nuint bytes, nint function, int index)
    {
        (offset, bytes) = (0, 0);
        var kernel = (FakeKernel)_handles[(int)function];
        if (kernel.Parameters is null)
            return CudaResult.NotFound;
        if (index >= kernel.Parameters.Length)
            return CudaResult.InvalidValue;
        (offset, bytes) = ((nuint)kernel.Parameters[index].Offset, (nuint)kernel.Parameters[index].Bytes);
        return CudaResult.Success;
    }

    /// <summary>Every map that was encoded: address, dimensions, strides, box, element type and swizzle.</summary>
    public List<(nint Address, ulong[] Dims, ulong[] Strides, uint[] Box, int ElementType, int Swizzle)> TensorMaps { get; } = [];

    public override CudaResult EncodeTensorMap(
        void* map, int elementType, nint address, ReadOnlySpan<ulong> dims, ReadOnlySpan<ulong> strides, ReadOnlySpan<uint> box, int swizzle)
    {
        CudaResult result = Note(nameof(EncodeTensorMap));
        if (result != CudaResult.Success)
            return result;
        TensorMaps.Add((address, dims.ToArray(), strides.ToArray(), box.ToArray(), elementType, swizzle));
        // What the driver refuses.
        bool fits = address != 0 && address % 16 == 0 && dims.ToArray().All(d => d is > 0 and <= 1UL << 32)
            && strides.ToArray().All(s => s is > 0 and < 1UL << 40 && s % 16 == 0) && box.ToArray().All(b => b is > 0 and <= 256);
        if (!fits)
            return CudaResult.InvalidValue;
        new Span<byte>(map, DeviceTensorMaps.MapBytes).Fill((byte)TensorMaps.Count);
        return CudaResult.Success;
    }

    public override CudaResult Launch(in LaunchConfig config, nint function, KernelArguments arguments)
    {
        CudaResult result = NoteInContext(nameof(Launch));
        if (result != CudaResult.Success || !Records)
            return result;
        var kernel = (FakeKernel)_handles[(int)function];
        byte[] packed = arguments.Content.ToArray();
        kernel.Launches.Add((config, packed));
        kernel.Body?.Invoke(packed);
        return CudaResult.Success;
    }

    public override (string Name, string Description) Describe(CudaResult result) => ($"CUDA_ERROR_{result}", "as the test wants");
}
