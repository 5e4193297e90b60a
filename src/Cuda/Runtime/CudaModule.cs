using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>A compiled program, loaded on a device.</summary>
public sealed unsafe class CudaModule : IDisposable
{
    private readonly ModuleHandle _handle;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, CudaKernel> _kernels = [];

    /// <summary>Loads a compiled program.</summary>
    /// <exception cref="CudaException">The driver does not take the code. The message names device, architecture and
    /// driver.</exception>
    public CudaModule(CudaDevice device, CompiledKernel compiled)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(compiled);
        (Device, Compiled) = (device, compiled);
        CudaContext context = device.Context;
        CudaResult result = context.Enter("cuModuleLoadData").ModuleLoad(out nint module, compiled.Cubin.Span);
        if (result != CudaResult.Success)
        {
            context.Driver.DriverVersion(out int version);
            throw context.Failure(
                result, "cuModuleLoadData",
                $"{compiled.Name} was compiled for {compiled.Architecture} by NVRTC {compiled.Compiler}; {device.Name} is {device.Description}; the driver is for CUDA {version / 1000}.{version % 1000 / 10}.");
        }
        _handle = new ModuleHandle(context, module);
    }

    /// <summary>The device.</summary>
    public CudaDevice Device { get; }

    /// <summary>What was loaded.</summary>
    public CompiledKernel Compiled { get; }

    internal nint Handle => _handle.Value;

    /// <summary>An entry point, resolved at its first use.</summary>
    /// <exception cref="CudaException">The text has no such entry point, or it exports no launch shape.</exception>
    public CudaKernel Kernel(string entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        lock (_gate)
        {
            if (!_kernels.TryGetValue(entry, out CudaKernel? kernel))
                _kernels.Add(entry, kernel = new CudaKernel(this, entry));
            return kernel;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    /// <summary>The bytes of a device variable.</summary>
    internal T ReadGlobal<T>(string name) where T : unmanaged
    {
        CudaContext context = Device.Context;
        CudaDriverApi driver = context.Enter("cuModuleGetGlobal");
        context.Check(
            driver.ModuleGetGlobal(out nint pointer, out nuint bytes, Handle, name), "cuModuleGetGlobal",
            $"{Compiled.Name} exports no '{name}'.");
        if (bytes != (nuint)sizeof(T))
            throw new InvalidOperationException(
                $"{Compiled.Name}: '{name}' has {bytes} bytes; {sizeof(T)} are expected. Host and device code do not belong together.");
        T value;
        context.Download(&value, pointer, sizeof(T), Device.DefaultStream);
        return value;
    }

    private sealed class ModuleHandle(CudaContext context, nint value) : CudaHandle(context, value)
    {
        protected override CudaResult Release(CudaDriverApi driver, nint value) => driver.ModuleUnload(value);
    }
}

/// <summary>An entry point of a module: its launch shape, and its launch.</summary>
public sealed unsafe class CudaKernel
{
    private readonly nint _function;
    private bool _checked;

    internal CudaKernel(CudaModule module, string name)
    {
        (Module, Name) = (module, name);
        CudaContext context = module.Device.Context;
        CudaDriverApi driver = context.Enter("cuModuleGetFunction");
        context.Check(
            driver.ModuleGetFunction(out _function, module.Handle, name), "cuModuleGetFunction",
            $"{module.Compiled.Name} has no entry point '{name}'.");
        Shape = module.ReadGlobal<LaunchShape>(name + "_shape");
        RegistersPerThread = Attribute(FunctionAttribute.Registers);
        SpillBytes = Attribute(FunctionAttribute.LocalBytes);
        int threads = Attribute(FunctionAttribute.MaxThreadsPerBlock);
        if (Shape.Threads < 1 || Shape.Threads > threads)
            throw new InvalidOperationException(
                $"{name} says it has {Shape.Threads} threads a block; the device can run it with 1 to {threads}.");
        int room = module.Device.MaxSharedBytes - Attribute(FunctionAttribute.StaticSharedBytes);
        int shared = Shape.MostSharedBytes;
        if (shared < 0 || shared > room)
        {
            throw new NotSupportedException(
                $"{name} needs {shared} bytes of shared memory a block; {module.Device.Name} ({module.Device.Model}) has room for {room}.");
        }
        if (shared > 0)
        {
            const FunctionAttribute Room = FunctionAttribute.MaxDynamicSharedBytes;
            context.Check(driver.SetFunctionAttribute(_function, Room, shared), "cuFuncSetAttribute");
        }
    }

    /// <summary>The module.</summary>
    public CudaModule Module { get; }

    /// <summary>Name of the entry point.</summary>
    public string Name { get; }

    /// <summary>What the device code says of its launch.</summary>
    public LaunchShape Shape { get; }

    /// <summary>Registers of a thread.</summary>
    public int RegistersPerThread { get; }

    /// <summary>Bytes of local memory of a thread: spilled registers and arrays that are not in registers.</summary>
    public int SpillBytes { get; }

    internal void Launch(in LaunchGrid grid, KernelArguments arguments, CudaStream stream) =>
        Launch(in grid, Shape.SharedBytes, arguments, stream);

    internal void Launch(in LaunchGrid grid, int sharedBytes, KernelArguments arguments, CudaStream stream)
    {
        CudaContext context = Module.Device.Context;
        CudaDriverApi driver = context.Enter(Name);
        if (!_checked)
            CheckArguments(driver, arguments);
        LaunchAttribute* attributes = stackalloc LaunchAttribute[2];
        uint attributeCount = 0;
        if (grid.Team > 1)
            attributes[attributeCount++] = LaunchAttribute.Cluster((uint)grid.Team);
        if (Shape.Waits != 0)
            attributes[attributeCount++] = LaunchAttribute.MayStartEarly;
        var config = new LaunchConfig
        {
            GridX = (uint)grid.X,
            GridY = (uint)grid.Y,
            GridZ = (uint)grid.Z,
            BlockX = (uint)Shape.Threads,
            BlockY = 1,
            BlockZ = 1,
            SharedBytes = (uint)sharedBytes,
            Stream = stream.Handle,
            Attributes = attributeCount == 0 ? 0 : (nint)attributes,
            AttributeCount = attributeCount,
        };
        CudaResult result = driver.Launch(in config, _function, arguments);
        if (result != CudaResult.Success)
            throw context.Failure(result, $"cuLaunchKernelEx({Name})", $"Grid ({grid.X}, {grid.Y}, {grid.Z}), {Shape}.");
    }

    /// <summary>Once a kernel: what the launch code packs must be what the compiled kernel reads.</summary>
    private void CheckArguments(CudaDriverApi driver, KernelArguments arguments)
    {
        for (int i = 0; i <= arguments.Count; i++)
        {
            CudaResult result = driver.FunctionParameter(out _, out nuint bytes, _function, i);
            if (result == CudaResult.NotFound)
                break; // a driver that cannot tell
            bool exists = result == CudaResult.Success;
            if (i == arguments.Count ? exists : !exists || (int)bytes != arguments.Places[i].Bytes)
            {
                string given = i == arguments.Count ? "nothing" : $"{arguments.Places[i].Bytes} bytes";
                string wanted = exists ? $"{bytes} bytes" : "nothing";
                throw new InvalidOperationException(
                    $"{Name}: argument {i} is given as {given}; the kernel takes {wanted}. Host and device code do not belong together.");
            }
        }
        _checked = true;
    }

    private int Attribute(FunctionAttribute attribute)
    {
        CudaContext context = Module.Device.Context;
        context.Check(context.Driver.GetFunctionAttribute(out int value, attribute, _function), "cuFuncGetAttribute");
        return value;
    }
}
