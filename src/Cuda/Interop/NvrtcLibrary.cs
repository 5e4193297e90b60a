using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Interop;

/// <summary>Where NVRTC is searched. A value, so that the order can be tested without touching the process.</summary>
/// <param name="Settings">The environment.</param>
/// <param name="BaseDirectory">Where the application is; the folder <c>.tools/nvrtc</c> is searched from here upwards.</param>
/// <param name="Home">The user's home, or empty.</param>
/// <param name="SystemRoots">Folders that hold toolkits or Python libraries on any machine.</param>
internal sealed record NvrtcSearch(CudaSettings Settings, string BaseDirectory, string Home, IReadOnlyList<string> SystemRoots)
{
    public static NvrtcSearch Current => new(
        CudaSettings.Current, AppContext.BaseDirectory,
        Environment.GetFolderPath(Environment.SpecialFolder.UserProfile),
        OperatingSystem.IsWindows()
            ? [Path.Combine(ProgramFiles, "NVIDIA GPU Computing Toolkit", "CUDA")]
            : ["/usr/local", "/opt"]);

    private static string ProgramFiles => Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles);
}

/// <summary>Finds NVRTC. What is named explicitly comes first and is then the only place.</summary>
internal static class NvrtcLibrary
{
    private static readonly string[] s_names = OperatingSystem.IsWindows()
        ? ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
        : ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

    private static readonly string s_target =
        RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? "sbsa-linux" : "x86_64-linux";

    public static NativeLibraryProbe Probe(NvrtcSearch search) => NativeLibraries.Probe(Candidates(search), LoadBuiltins);

    /// <summary>
    /// Files, bare names and (where a folder has none) folders, in the order in which they are tried.
    /// </summary>
    public static IEnumerable<string> Candidates(NvrtcSearch search)
    {
        if (search.Settings.Nvrtc is { } named)
        {
            named = Path.GetFullPath(named);
            if (Directory.Exists(named))
                return InFolder(named).DefaultIfEmpty(named);
            return [named];
        }
        IEnumerable<string> folders = Folders(search, "cuda_nvrtc");
        // A folder without the library is named too, so that a failure says where the library was expected.
        return folders.SelectMany(folder => InFolder(folder).DefaultIfEmpty(folder)).Concat(ToolsFolders(search.BaseDirectory).SelectMany(InFolder)).Concat(s_names)
            .Distinct(StringComparer.Ordinal);
    }

    /// <summary>
    /// Folders that hold the libraries of a toolkit: those that the environment names, those of the system, and a library's
    /// wheel in every Python environment at hand.
    /// </summary>
    /// <param name="search">Where to look.</param>
    /// <param name="wheel">Folder of the library's own wheel, such as <c>cublas</c>; toolkits from 13 on share one.</param>
    public static IEnumerable<string> Folders(NvrtcSearch search, string wheel) => Toolkits(search.Settings.ToolkitRoots)
        .Concat(Toolkits(SystemToolkits(search.SystemRoots)))
        .Concat(PythonFolders(search, wheel));

    /// <summary>
    /// NVRTC loads its builtins by bare name, which does not find the folder NVRTC itself was loaded from; a library that is
    /// loaded already satisfies it.
    /// </summary>
    private static void LoadBuiltins(string nvrtc)
    {
        string pattern = OperatingSystem.IsWindows() ? "nvrtc-builtins64_*.dll" : "libnvrtc-builtins.so*";
        foreach (string builtins in Files(Path.GetDirectoryName(nvrtc)!, pattern))
            NativeLibrary.TryLoad(builtins, out _);
    }

    private static IEnumerable<string> InFolder(string folder)
    {
        foreach (string name in s_names)
        {
            string path = Path.Combine(folder, name);
            if (File.Exists(path))
                yield return path;
        }
        if (!OperatingSystem.IsWindows())
            yield break;
        foreach (string path in Files(folder, "nvrtc64_*.dll").OrderDescending(StringComparer.OrdinalIgnoreCase))
        {
            if (!Path.GetFileName(path).Contains("alt", StringComparison.OrdinalIgnoreCase))
                yield return path;
        }
    }

    private static IEnumerable<string> Toolkits(IEnumerable<string> roots) => roots.SelectMany(root => OperatingSystem.IsWindows()
        ? new[] { Path.Combine(root, "bin"), Path.Combine(root, "bin", "x64") }
        :
        [
            Path.Combine(root, "lib64"),
            Path.Combine(root, "targets", s_target, "lib"),
            Path.Combine(root, "lib"),
        ]);

    private static IEnumerable<string> SystemToolkits(IEnumerable<string> roots) => roots.SelectMany(root =>
        Folders(root, OperatingSystem.IsWindows() ? "v*" : "cuda*").OrderDescending(StringComparer.Ordinal));

    private static IEnumerable<string> PythonFolders(NvrtcSearch search, string wheel)
    {
        string user = Path.Combine(search.Home, ".local");
        IEnumerable<string> roots = [.. search.Settings.PythonRoots, .. search.SystemRoots, "/usr", user];
        foreach (string root in roots.Where(Path.IsPathRooted))
        {
            if (OperatingSystem.IsWindows())
            {
                yield return Path.Combine(root, "Lib", "site-packages", "nvidia", wheel, "bin");
                continue;
            }
            foreach (string python in Folders(Path.Combine(root, "lib"), "python3*"))
            {
                foreach (string packages in new[] { "site-packages", "dist-packages" })
                {
                    string nvidia = Path.Combine(python, packages, "nvidia");
                    yield return Path.Combine(nvidia, "cu13", "lib");
                    yield return Path.Combine(nvidia, wheel, "lib");
                }
            }
        }
        string conda = OperatingSystem.IsWindows() ? Path.Combine("Library", "bin") : "lib";
        foreach (string root in search.Settings.PythonRoots)
            yield return Path.Combine(root, conda);
    }

    /// <summary><c>.tools/nvrtc</c> of a checkout, and every folder in it that has libraries.</summary>
    private static IEnumerable<string> ToolsFolders(string from)
    {
        for (DirectoryInfo? folder = new(from); folder is not null; folder = folder.Parent)
        {
            string tools = Path.Combine(folder.FullName, ".tools", "nvrtc");
            if (!Directory.Exists(tools))
                continue;
            yield return tools;
            string[] inside = List(() => Directory.GetDirectories(tools, "*", SearchOption.AllDirectories));
            foreach (string inner in inside.Order(StringComparer.Ordinal))
                yield return inner;
        }
    }

    private static string[] Files(string folder, string pattern) => List(() => Directory.GetFiles(folder, pattern));

    private static string[] Folders(string folder, string pattern) => List(() => Directory.GetDirectories(folder, pattern));

    private static string[] List(Func<string[]> list)
    {
        try
        {
            return list();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // a place that cannot be read is a place where nothing was found
        }
    }
}
