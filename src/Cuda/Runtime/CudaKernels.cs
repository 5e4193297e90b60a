namespace AttnCompose.Cuda;

/// <summary>The kernels of a text, compiled with some options and loaded on a device: a module for each of its programs.</summary>
public sealed class CudaKernels
{
    private readonly Lock _gate = new();
    private CudaKernel[] _kernels = [];

    private CudaKernels(IReadOnlyList<CudaModule> modules) => Modules = modules;

    /// <summary>The modules, in the order of the text.</summary>
    public IReadOnlyList<CudaModule> Modules { get; }

    /// <summary>
    /// Loads a text. Programs that the cache lacks are compiled side by side in worker processes where the program can be one
    /// (<see cref="KernelWorker"/>), else one after the other.
    /// </summary>
    /// <exception cref="KernelCompilationException">A kernel does not compile, or may not be compiled.</exception>
    /// <exception cref="CudaException">The driver does not take the code.</exception>
    public static CudaKernels Load(CudaDevice device, KernelCache cache, KernelSource source, CompileOptions options)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(cache);
        PreparedKernel[] programs = cache.PreparePrograms(source, options);
        CudaModule?[] modules = [.. programs.Select(program => device.FindModule(program.Key))];
        int[] missing = [.. Enumerable.Range(0, programs.Length).Where(i => modules[i] is null)];
        var compiled = new CompiledKernel[missing.Length];
        KernelBatch.Get(
            cache, [.. missing.Select(i => programs[i])], KernelWorkers.Current, (i, kernel, _) => compiled[i] = kernel, default);
        for (int i = 0; i < missing.Length; i++)
            modules[missing[i]] = device.Module(programs[missing[i]].Key, compiled[i]);
        return new(modules!);
    }

    /// <summary>An entry point, resolved at its first use.</summary>
    /// <exception cref="CudaException">The text has no such entry point, or it exports no launch shape.</exception>
    public CudaKernel Kernel(string entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        return Find(entry) ?? Resolve(entry);
    }

    /// <summary>An entry point that was resolved; null where it was not.</summary>
    // A pipeline has a handful of entries and names them by literals, so comparing references nearly always suffices.
    internal CudaKernel? Find(string entry)
    {
        foreach (CudaKernel kernel in Volatile.Read(ref _kernels))
        {
            if ((object)kernel.Name == entry || kernel.Name == entry)
                return kernel;
        }
        return null;
    }

    private CudaKernel Resolve(string entry)
    {
        lock (_gate)
        {
            if (Find(entry) is { } known)
                return known;
            // A program of one kernel has its name. The one program of a whole text has not, and says what it lacks.
            CudaModule module = Modules.FirstOrDefault(module => module.Compiled.Name == entry) ?? Modules[0];
            CudaKernel kernel = module.Kernel(entry);
            Volatile.Write(ref _kernels, [.. _kernels, kernel]);
            return kernel;
        }
    }
}
