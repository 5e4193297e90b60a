using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Interop;

/// <summary>The functions of NVRTC that are used, under their own names.</summary>
internal static unsafe partial class Nvrtc
{
    public const int Success = 0;
    public const int CompilationError = 6;

    // Runs before the first import is bound, so that the resolver is in place.
    static Nvrtc() => RuntimeHelpers.RunClassConstructor(typeof(NativeLibraries).TypeHandle);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcVersion(int* major, int* minor);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetNumSupportedArchs(int* count);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetSupportedArchs(int* archs);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcCreateProgram(
        nint* program, byte* source, byte* name, int headerCount, byte** headers, byte** includeNames);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcCompileProgram(nint program, int optionCount, byte** options);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcDestroyProgram(nint* program);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetProgramLogSize(nint program, nuint* bytes);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetProgramLog(nint program, byte* log);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetCUBINSize(nint program, nuint* bytes);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetCUBIN(nint program, byte* cubin);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetPTXSize(nint program, nuint* bytes);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial int nvrtcGetPTX(nint program, byte* ptx);

    [LibraryImport(NativeLibraries.Nvrtc)]
    public static partial byte* nvrtcGetErrorString(int result);

    /// <summary>Throws where a call failed.</summary>
    public static void Check(int result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != Success)
            throw new NvrtcException(result, Utf8Text.Read(nvrtcGetErrorString(result), "unknown error"), FunctionName(call));
    }

    /// <summary>Throws, naming all that was tried, where NVRTC could not be loaded.</summary>
    public static void RequireLoaded()
    {
        if (NativeLibraries.NvrtcProbe.Handle == 0)
        {
            throw new CudaUnavailableException(
                "NVRTC, which compiles kernels at run time, was not found. "
                + "Install the CUDA toolkit or the nvidia-cuda-nvrtc wheel, or set ATTNCOMPOSE_NVRTC to the library.",
                NativeLibraries.NvrtcProbe.Tried);
        }
    }

    private static string FunctionName(string expression)
    {
        string call = expression[(expression.LastIndexOf("nvrtc", StringComparison.Ordinal) is var at and >= 0 ? at : 0)..];
        return call.IndexOf('(') is var open and >= 0 ? call[..open] : call;
    }

}
