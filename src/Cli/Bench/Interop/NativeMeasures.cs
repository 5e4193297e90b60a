using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cli.Bench.Interop;

/// <summary>Finds the libraries that the measurements ask and that nothing else needs: cuBLAS and NVML.</summary>
internal static class NativeMeasures
{
    public const string Blas = "attncompose-cublas";
    public const string Management = "attncompose-nvml";

    private static readonly Lazy<NativeLibraryProbe> s_blas = new(() => NativeLibraries.Probe(BlasCandidates(), LoadBlasCore));
    private static readonly Lazy<NativeLibraryProbe> s_management = new(() => NativeLibraries.Probe(ManagementCandidates()));

    static NativeMeasures() => NativeLibrary.SetDllImportResolver(typeof(NativeMeasures).Assembly, Resolve);

    public static bool HasBlas => s_blas.Value.Handle != 0;

    public static bool HasManagement => s_management.Value.Handle != 0;

    private static IEnumerable<string> BlasCandidates()
    {
        string[] names = OperatingSystem.IsWindows()
            ? ["cublas64_13.dll", "cublas64_12.dll"]
            : ["libcublas.so.13", "libcublas.so.12", "libcublas.so"];
        return NvrtcLibrary.Folders(NvrtcSearch.Current, "cublas")
            .SelectMany(folder => names.Select(name => Path.Combine(folder, name)))
            .Where(File.Exists)
            .Concat(names)
            .Distinct(StringComparer.Ordinal);
    }

    /// <summary>cuBLAS loads cuBLASLt by bare name, which is found beside it only where it is loaded already.</summary>
    private static void LoadBlasCore(string blas)
    {
        string core = Path.Combine(Path.GetDirectoryName(blas)!, Path.GetFileName(blas).Replace("cublas", "cublasLt"));
        NativeLibrary.TryLoad(core, out _);
    }

    private static string[] ManagementCandidates() => OperatingSystem.IsWindows() ? ["nvml.dll"] : ["libnvidia-ml.so.1"];

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath) => name switch
    {
        Blas => s_blas.Value.Handle,
        Management => s_management.Value.Handle,
        _ => 0,
    };
}

/// <summary>The functions of cuBLAS that are used, under their own names.</summary>
internal static unsafe partial class CuBlas
{
    public const int Success = 0;
    public const int Float16Data = 2;
    public const int BFloat16Data = 14;
    public const int ComputeFloat32 = 68;

    // Runs before the first import is bound, so that the resolver is in place.
    static CuBlas() => RuntimeHelpers.RunClassConstructor(typeof(NativeMeasures).TypeHandle);

    [LibraryImport(NativeMeasures.Blas)]
    public static partial int cublasCreate_v2(nint* handle);

    [LibraryImport(NativeMeasures.Blas)]
    public static partial int cublasDestroy_v2(nint handle);

    [LibraryImport(NativeMeasures.Blas)]
    public static partial int cublasSetStream_v2(nint handle, nint stream);

    [LibraryImport(NativeMeasures.Blas)]
    public static partial int cublasGetVersion_v2(nint handle, int* version);

    [LibraryImport(NativeMeasures.Blas)]
    public static partial int cublasGemmEx(
        nint handle, int transposeA, int transposeB, int m, int n, int k, float* alpha, nint a, int typeA, int strideA, nint b,
        int typeB, int strideB, float* beta, nint c, int typeC, int strideC, int compute, int algorithm);
}

/// <summary>The functions of NVML that are used, under their own names.</summary>
internal static unsafe partial class Nvml
{
    public const int Success = 0;
    public const int MultiprocessorClock = 1;
    public const int MemoryClock = 2;

    // Runs before the first import is bound, so that the resolver is in place.
    static Nvml() => RuntimeHelpers.RunClassConstructor(typeof(NativeMeasures).TypeHandle);

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlInit_v2();

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlShutdown();

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlSystemGetDriverVersion(byte* text, uint length);

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlDeviceGetHandleByPciBusId_v2(byte* id, nint* device);

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlDeviceGetClockInfo(nint device, int type, uint* megahertz);

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlDeviceGetPowerUsage(nint device, uint* milliwatts);

    [LibraryImport(NativeMeasures.Management)]
    public static partial int nvmlDeviceGetPowerManagementLimit(nint device, uint* milliwatts);
}
