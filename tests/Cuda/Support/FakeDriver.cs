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

    /// <summary>Attributes of the last launch, whose memory lasts no longer than that.</summary>
    public LaunchAttribute[] Attributes { get; set; } = [];

    public Action<byte[]>? Body { get; init; }

    public void Launch(LaunchConfig config, byte[] arguments)
    {
        Launches.Add((config, arguments));
        Body?.Invoke(arguments);
    }
}

/// <summary>A graph of the fake driver, or an executable made of one: kernels in order, with their arguments.</summary>
internal sealed class FakeGraph
{
    public List<(FakeKernel Kernel, LaunchConfig Config, byte[] Arguments)> Nodes { get; set; } = [];

    /// <summary>Whether something was tried while it was captured that no graph can hold.</summary>
    public bool IsInvalid { get; set; }
}

/// <summary>A driver whose device memory is host memory and whose kernels are C#. Every call can be made to fail.</summary>
internal sealed unsafe class FakeDriver : CudaDriverApi
{
    private readonly List<object> _handles = [new()]; // a handle is an index; 0 is none
    private readonly Dictionary<nint, FakeGraph> _captures = [];
    private readonly FakeGraph _unrecorded = new(); // what is captured without records, for which nothing is allocated
    private const nint UnrecordedGraph = int.MaxValue;

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

    /// <summary>CUDA version of the driver.</summary>
    public int Version { get; init; } = 13_000;

    /// <summary>The call from now on, counted from 1, that fails with <see cref="CountedFailure"/>; 0 for none.</summary>
    public int FailingCall { get; set; }

    public CudaResult CountedFailure { get; set; } = CudaResult.OutOfMemory;

    /// <summary>Which calls <see cref="FailingCall"/> counts: those that can fail for want of something.</summary>
    public Func<string, bool> Counts { get; set; } = _ => true;

    /// <summary>Streams, events, modules, graphs and executables that nobody destroyed.</summary>
    public int Open { get; private set; }

    /// <summary>Whether calls are noted and kernels run; without, the driver allocates nothing.</summary>
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
        if (FailingCall > 0 && Counts(call) && --FailingCall == 0)
            return CountedFailure;
        return Failures.GetValueOrDefault(call);
    }

    /// <summary>Notes a call that is no part of a graph: a stream that is being captured is lost for its capture.</summary>
    private CudaResult NoteOutsideCapture(string call)
    {
        if (_captures.Count == 0)
            return NoteInContext(call);
        foreach (FakeGraph capture in _captures.Values)
            capture.IsInvalid = true;
        return CudaResult.StreamCaptureUnsupported;
    }

    /// <summary>Notes a call that the driver takes only on a thread whose current context is this device's.</summary>
    private CudaResult NoteInContext(string call)
    {
        CudaResult result = Note(call);
        return t_current is >= 7100 and < 7200 ? result : CudaResult.InvalidContext;
    }

    private CudaResult Opened(CudaResult result)
    {
        Open += result == CudaResult.Success ? 1 : 0;
        return result;
    }

    private nint New(object value)
    {
        _handles.Add(value);
        return _handles.Count - 1;
    }

    public override CudaResult Init() => Note(nameof(Init));

    public override CudaResult DriverVersion(out int version)
    {
        version = Version;
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
        CudaResult result = Note(nameof(PrimaryContextRetain));
        Retained += result == CudaResult.Success ? 1 : 0;
        return result;
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

    public override CudaResult ContextSynchronize() => NoteOutsideCapture(nameof(ContextSynchronize));

    public override CudaResult MemoryInfo(out nuint free, out nuint total)
    {
        (free, total) = (12345, (nuint)1 << 30);
        return CudaResult.Success;
    }

    public override CudaResult MemoryAllocate(out nint pointer, nuint bytes)
    {
        CudaResult result = NoteOutsideCapture(nameof(MemoryAllocate));
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
        return Opened(NoteInContext(nameof(StreamCreate)));
    }

    public override CudaResult StreamDestroy(nint stream)
    {
        Open--;
        return NoteInContext(nameof(StreamDestroy));
    }

    public override CudaResult StreamSynchronize(nint stream)
    {
        if (!_captures.TryGetValue(stream, out FakeGraph? capture))
            return Note(nameof(StreamSynchronize));
        capture.IsInvalid = true;
        return CudaResult.StreamCaptureUnsupported;
    }

    public override CudaResult StreamQuery(nint stream) => Note(nameof(StreamQuery));

    public override CudaResult StreamWaitEvent(nint stream, nint handle) => Note(nameof(StreamWaitEvent));

    public override CudaResult StreamIsCapturing(nint stream, out int status)
    {
        status = _captures.ContainsKey(stream) ? 1 : 0;
        return CudaResult.Success;
    }

    public override CudaResult StreamBeginCapture(nint stream, int mode)
    {
        CudaResult result = Note(nameof(StreamBeginCapture));
        if (result == CudaResult.Success && !_captures.TryAdd(stream, Records ? new FakeGraph() : _unrecorded))
            return CudaResult.StreamCaptureUnsupported;
        return result;
    }

    public override CudaResult StreamEndCapture(nint stream, out nint graph)
    {
        graph = 0;
        CudaResult result = Note(nameof(StreamEndCapture));
        if (!_captures.Remove(stream, out FakeGraph? captured))
            return CudaResult.InvalidValue;
        if (captured.IsInvalid || result != CudaResult.Success)
            return captured.IsInvalid ? CudaResult.StreamCaptureInvalidated : result;
        graph = captured == _unrecorded ? UnrecordedGraph : New(captured);
        Open++;
        return CudaResult.Success;
    }

    public override CudaResult EventCreate(out nint handle, uint flags)
    {
        handle = New("event");
        return Opened(NoteInContext(nameof(EventCreate)));
    }

    public override CudaResult EventDestroy(nint handle)
    {
        Open--;
        return Note(nameof(EventDestroy));
    }

    public override CudaResult EventRecord(nint handle, nint stream) => Note(nameof(EventRecord));

    public override CudaResult EventSynchronize(nint handle) => Note(nameof(EventSynchronize));

    public override CudaResult EventElapsed(out float milliseconds, nint start, nint end)
    {
        milliseconds = 1.5f;
        return Note(nameof(EventElapsed));
    }

    public override CudaResult GraphInstantiate(out nint executable, nint graph)
    {
        executable = 0;
        CudaResult result = Note(nameof(GraphInstantiate));
        if (result != CudaResult.Success)
            return result;
        executable = New(new FakeGraph { Nodes = [.. ((FakeGraph)_handles[(int)graph]).Nodes] });
        Open++;
        return CudaResult.Success;
    }

    public override CudaResult GraphDestroy(nint graph)
    {
        Open--;
        return Note(nameof(GraphDestroy));
    }

    public override CudaResult GraphExecutableDestroy(nint executable)
    {
        Open--;
        return Note(nameof(GraphExecutableDestroy));
    }

    public override CudaResult GraphLaunch(nint executable, nint stream)
    {
        CudaResult result = Note(nameof(GraphLaunch));
        if (result != CudaResult.Success || !Records)
            return result;
        foreach (var (kernel, config, arguments) in ((FakeGraph)_handles[(int)executable]).Nodes)
            kernel.Launch(config, arguments);
        return CudaResult.Success;
    }

    public override CudaResult GraphUpdate(nint executable, nint graph)
    {
        CudaResult result = Note(nameof(GraphUpdate));
        if (result != CudaResult.Success || graph == UnrecordedGraph)
            return result;
        var (from, to) = ((FakeGraph)_handles[(int)graph], (FakeGraph)_handles[(int)executable]);
        if (!from.Nodes.Select(node => node.Kernel).SequenceEqual(to.Nodes.Select(node => node.Kernel)))
            return CudaResult.GraphUpdateFailure;
        to.Nodes = [.. from.Nodes];
        return CudaResult.Success;
    }

    public override CudaResult ModuleLoad(out nint module, ReadOnlySpan<byte> image)
    {
        module = New("module");
        Modules.Add((module, image.ToArray()));
        if (ReadsCubins)
        {
            foreach (var (name, kernel) in CubinFile.Kernels(image))
                Kernels[name] = new FakeKernel { Shape = kernel.Shape!.Value, Parameters = kernel.Parameters };
        }
        return Opened(NoteInContext(nameof(ModuleLoad)));
    }

    public override CudaResult ModuleUnload(nint module)
    {
        Open--;
        return NoteInContext(nameof(ModuleUnload));
    }

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
        kernel.Attributes = new ReadOnlySpan<LaunchAttribute>((void*)config.Attributes, (int)config.AttributeCount).ToArray();
        if (_captures.TryGetValue(config.Stream, out FakeGraph? capture))
            capture.Nodes.Add((kernel, config, packed));
        else
            kernel.Launch(config, packed);
        return CudaResult.Success;
    }

    public override (string Name, string Description) Describe(CudaResult result) => ($"CUDA_ERROR_{result}", "as the test wants");
}
