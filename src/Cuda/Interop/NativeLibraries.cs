using System.Reflection;
using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Interop;

/// <summary>A native library after it was looked for.</summary>
/// <param name="Handle">0 where it was not found.</param>
/// <param name="Path">What was loaded.</param>
/// <param name="Tried">Everything that was tried, in order.</param>
internal sealed record NativeLibraryProbe(nint Handle, string? Path, IReadOnlyList<LibraryAttempt> Tried);

/// <summary>Finds the driver and NVRTC for the imports of this assembly.</summary>
internal static class NativeLibraries
{
    public const string Driver = "attncompose-cuda-driver";
    public const string Nvrtc = "attncompose-nvrtc";

    private static readonly Lazy<NativeLibraryProbe> s_driver = new(() => Probe(DriverCandidates()));
    private static readonly Lazy<NativeLibraryProbe> s_nvrtc = new(() => NvrtcLibrary.Probe(NvrtcSearch.Current));

    static NativeLibraries() => NativeLibrary.SetDllImportResolver(typeof(NativeLibraries).Assembly, Resolve);

    public static NativeLibraryProbe DriverProbe => s_driver.Value;

    public static NativeLibraryProbe NvrtcProbe => s_nvrtc.Value;

    /// <summary>Loads the first candidate that can be loaded.</summary>
    public static NativeLibraryProbe Probe(IEnumerable<string> candidates, Action<string>? beforeLoad = null)
    {
        var tried = new List<LibraryAttempt>();
        foreach (string candidate in candidates)
        {
            if (Path.IsPathRooted(candidate))
            {
                if (!File.Exists(candidate))
                {
                    tried.Add(new(candidate, Directory.Exists(candidate) ? "no such library in this folder" : "no such file"));
                    continue;
                }
                beforeLoad?.Invoke(candidate);
            }
            try
            {
                nint handle = NativeLibrary.Load(candidate);
                tried.Add(new(candidate, LibraryAttempt.LoadedText));
                return new(handle, LoadedPath(candidate), tried);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                tried.Add(new(candidate, FirstLine(e.Message)));
            }
        }
        return new(0, null, tried);
    }

    private static string[] DriverCandidates() =>
        OperatingSystem.IsWindows() ? ["nvcuda.dll"]
        : ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "libcuda.so"];

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath) => name switch
    {
        Driver => DriverProbe.Handle,
        Nvrtc => NvrtcProbe.Handle,
        _ => 0,
    };

    /// <summary>The file behind a library that the system's loader found by its bare name.</summary>
    private static string LoadedPath(string candidate)
    {
        if (Path.IsPathRooted(candidate) || !OperatingSystem.IsLinux())
            return candidate;
        try
        {
            // The map names the real file, such as libcuda.so.580.1 where libcuda.so.1 was asked for.
            string stem = candidate[..(candidate.IndexOf(".so", StringComparison.Ordinal) + 3)];
            foreach (string line in File.ReadLines("/proc/self/maps"))
            {
                int slash = line.IndexOf('/');
                if (slash >= 0 && Path.GetFileName(line[slash..]).StartsWith(stem, StringComparison.Ordinal))
                    return line[slash..];
            }
        }
        catch (IOException)
        {
        }
        return candidate;
    }

    private static string FirstLine(string text)
    {
        // The runtime repeats the loader's message for every name it tried; the first one that is not a missing file says most.
        foreach (string line in text.Split('\n'))
        {
            string trimmed = line.Trim();
            if (trimmed.Length > 0 && !trimmed.StartsWith("Unable to load", StringComparison.Ordinal))
                return trimmed;
        }
        return "could not be loaded";
    }
}
