using System.Globalization;
using System.Text;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda;

/// <summary>
/// Compiles CUDA text with NVRTC, headers from memory. NVRTC works on one program at a time inside a process, so calls take
/// turns here; <see cref="CompileAll"/> and a pipeline's first call use worker processes.
/// </summary>
public static unsafe class KernelCompiler
{
    /// <summary>The first that takes everything in the device code.</summary>
    private static readonly Version LeastVersion = new(12, 4);

    private static readonly Lock s_gate = new();
    private static readonly Lazy<CompilerInfo> s_info = new(ReadInfo);

    /// <summary>Whether NVRTC was found.</summary>
    public static bool IsAvailable => NativeLibraries.NvrtcProbe.Handle != 0;

    /// <summary>Version of NVRTC.</summary>
    /// <exception cref="CudaUnavailableException">NVRTC was not found.</exception>
    public static Version Version => s_info.Value.Version;

    /// <summary>Virtual architectures that NVRTC knows, such as 90.</summary>
    /// <exception cref="CudaUnavailableException">NVRTC was not found.</exception>
    public static IReadOnlyList<int> SupportedArchitectures => s_info.Value.Architectures;

    /// <summary>What tells one compiler from another in a cache key.</summary>
    internal static string Identity => s_info.Value.Identity;

    /// <summary>Compiles a source, without a cache.</summary>
    /// <exception cref="CudaUnavailableException">NVRTC was not found.</exception>
    /// <exception cref="KernelCompilationException">The text does not compile, or a header is missing.</exception>
    /// <exception cref="NvrtcException">NVRTC failed, or it does not know the architecture.</exception>
    public static CompiledKernel Compile(KernelSource source, CompileOptions options) =>
        Compile(source, DeviceHeaders.Collect(source), options);

    internal static CompiledKernel Compile(KernelSource source, IReadOnlyList<DeviceHeader> headers, CompileOptions options)
    {
        CompilerInfo info = s_info.Value;
        CheckArchitecture(options.Architecture, info);
        IReadOnlyList<string> arguments = options.ToArguments();
        using var text = new NativeStrings([source.CudaText, source.Name + ".cu"]);
        using var headerTexts = new NativeStrings(headers.Select(h => h.Text));
        using var headerNames = new NativeStrings(headers.Select(h => h.Name));
        using var argumentTexts = new NativeStrings(arguments);
        lock (s_gate)
        {
            nint program;
            Nvrtc.Check(Nvrtc.nvrtcCreateProgram(
                &program, text.Pointers[0], text.Pointers[1], headers.Count, headerTexts.Pointers, headerNames.Pointers));
            try
            {
                int result = Nvrtc.nvrtcCompileProgram(program, arguments.Count, argumentTexts.Pointers);
                string log = ReadLog(program);
                if (result == Nvrtc.CompilationError)
                    throw new KernelCompilationException(source.Name, options.ToString(), log);
                Nvrtc.Check(result, nameof(Nvrtc.nvrtcCompileProgram) + (log.Length > 0 ? $" ({log})" : ""));
                nuint bytes;
                Nvrtc.Check(Nvrtc.nvrtcGetCUBINSize(program, &bytes));
                var cubin = new byte[bytes];
                fixed (byte* to = cubin)
                    Nvrtc.Check(Nvrtc.nvrtcGetCUBIN(program, to));
                if (options.Verbose)
                    log += PtxasLog.CountProducts(ReadPtx(program));
                return new CompiledKernel(source.Name, options.Architecture, info.Version.ToString(), cubin, log);
            }
            finally
            {
                Nvrtc.nvrtcDestroyProgram(&program);
            }
        }
    }

    /// <summary>
    /// Compiles many sources without a cache: in worker processes where the program can be one (<see cref="KernelWorker"/>), else
    /// one after the other.
    /// </summary>
    /// <param name="kernels">What to compile.</param>
    /// <param name="progress">Told how many are compiled, on any thread, one at a time.</param>
    /// <param name="cancellation">Ends workers at once.</param>
    /// <returns>The compiled kernels, in order.</returns>
    /// <exception cref="KernelCompilationException">One does not compile.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static IReadOnlyList<CompiledKernel> CompileAll(
        IReadOnlyList<(KernelSource Source, CompileOptions Options)> kernels, IProgress<int>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        PreparedKernel[] prepared = [.. kernels.Select(kernel =>
        {
            IReadOnlyList<DeviceHeader> headers = DeviceHeaders.Collect(kernel.Source);
            return new PreparedKernel(
                kernel.Source, kernel.Options, headers, KernelCacheKey.Compute(kernel.Source, headers, kernel.Options, Identity));
        })];
        var compiled = new CompiledKernel[prepared.Length];
        int done = 0;
        KernelBatch.Run(
            prepared, KernelWorkers.Current, kernel => Compile(kernel.Source, kernel.Headers, kernel.Options),
            (kernel, compile) => compile(kernel),
            (number, kernel) =>
            {
                compiled[number] = kernel;
                progress?.Report(++done);
            },
            cancellation);
        return compiled;
    }

    private static void CheckArchitecture(string architecture, CompilerInfo info)
    {
        ReadOnlySpan<char> digits = architecture.AsSpan().TrimStart("sm_").TrimEnd("af");
        bool isNumber = int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int number);
        if (!isNumber || !info.Architectures.Contains(number))
        {
            throw new NvrtcException(
                $"NVRTC {info.Version} ({info.Path}) does not compile for {architecture}. It knows {string.Join(", ", info.Architectures.Select(a => $"sm_{a}"))}.");
        }
    }

    private static string ReadLog(nint program)
    {
        nuint bytes;
        Nvrtc.Check(Nvrtc.nvrtcGetProgramLogSize(program, &bytes));
        if (bytes <= 1)
            return "";
        var log = new byte[bytes];
        fixed (byte* to = log)
            Nvrtc.Check(Nvrtc.nvrtcGetProgramLog(program, to));
        return Encoding.UTF8.GetString(log.AsSpan(0, (int)bytes - 1)).TrimEnd();
    }

    private static string ReadPtx(nint program)
    {
        nuint bytes;
        Nvrtc.Check(Nvrtc.nvrtcGetPTXSize(program, &bytes));
        var text = new byte[bytes];
        fixed (byte* to = text)
            Nvrtc.Check(Nvrtc.nvrtcGetPTX(program, to));
        return Encoding.UTF8.GetString(text);
    }

    private static CompilerInfo ReadInfo()
    {
        Nvrtc.RequireLoaded();
        CompilerInfo info;
        try
        {
            info = AskInfo();
        }
        catch (EntryPointNotFoundException e)
        {
            throw new NvrtcException($"{NativeLibraries.NvrtcProbe.Path} is no NVRTC, or one that is too old: {e.Message}");
        }
        if (info.Version < LeastVersion)
            throw new NvrtcException($"{info.Path} is NVRTC {info.Version}; {LeastVersion} is the least that works.");
        return info;
    }

    private static CompilerInfo AskInfo()
    {
        lock (s_gate)
        {
            int major, minor, count;
            Nvrtc.Check(Nvrtc.nvrtcVersion(&major, &minor));
            Nvrtc.Check(Nvrtc.nvrtcGetNumSupportedArchs(&count));
            var architectures = new int[count];
            fixed (int* to = architectures)
                Nvrtc.Check(Nvrtc.nvrtcGetSupportedArchs(to));
            string path = NativeLibraries.NvrtcProbe.Path!;
            // Patch releases share a version number; their libraries hardly ever share a size.
            string file = File.Exists(path) ? File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path : path;
            long bytes = File.Exists(file) ? new FileInfo(file).Length : 0;
            return new(
                new Version(major, minor), architectures, path,
                string.Create(CultureInfo.InvariantCulture, $"NVRTC {major}.{minor} {bytes}"));
        }
    }

    private sealed record CompilerInfo(Version Version, IReadOnlyList<int> Architectures, string Path, string Identity);
}
