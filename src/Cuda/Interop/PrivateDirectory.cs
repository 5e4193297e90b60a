using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace AttnCompose.Cuda.Interop;

/// <summary>
/// A folder that nobody else can write. What lies in the kernel cache runs with this process's rights on the GPU, so a folder
/// that others can put something into is refused.
/// </summary>
internal static unsafe partial class PrivateDirectory
{
    private const UnixFileMode OthersWrite = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Makes the folder where it is missing, and says why it is refused; null where it is good.</summary>
    public static string? Open(string path)
    {
        try
        {
            if (!Path.IsPathFullyQualified(path))
                return "it is not an absolute path";
            path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
            if (OperatingSystem.IsWindows())
            {
                Directory.CreateDirectory(path); // below the user's profile, whose access list keeps others out
                return new DirectoryInfo(path).LinkTarget is null ? null : "it is a link";
            }
            Directory.CreateDirectory(path, Private);
            return Check(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return e.Message;
        }
    }

    [UnsupportedOSPlatform("windows")]
    private static string? Check(string path)
    {
        var folder = new DirectoryInfo(path);
        if (folder.LinkTarget is not null)
            return "it is a symbolic link";
        if (!folder.Exists)
            return "it is not a folder";
        UnixFileMode mode = File.GetUnixFileMode(path);
        if ((mode & OthersWrite) != 0)
            return $"others can write it (mode {Convert.ToString((int)mode, 8)}); chmod 700 makes it private";
        if (Owner(path) is { } owner && owner != geteuid())
            return $"it belongs to user {owner}, and this process runs as user {geteuid()}";
        // Whoever can rename a folder on the way can put another in its place. The sticky bit prevents that.
        for (DirectoryInfo? parent = folder.Parent; parent is not null; parent = parent.Parent)
        {
            string real = parent.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? parent.FullName;
            UnixFileMode parentMode = File.GetUnixFileMode(real);
            if ((parentMode & UnixFileMode.OtherWrite) != 0 && (parentMode & UnixFileMode.StickyBit) == 0)
                return $"everybody can write {real}, a folder that it is in";
        }
        return null;
    }

    /// <summary>Numeric owner of a path itself, not of what it links to; null where it cannot be told.</summary>
    private static uint? Owner(string path)
    {
        if (!OperatingSystem.IsLinux())
            return null;
        const int currentFolder = -100;
        const int noFollow = 0x100;
        const uint wantOwner = 0x8;
        // struct statx is the same on every architecture: the owner is at byte 20 of 256.
        byte* status = stackalloc byte[256];
        fixed (byte* text = Utf8Text.Terminated(path))
        {
            try
            {
                return statx(currentFolder, text, noFollow, wantOwner, status) == 0 ? *(uint*)(status + 20) : null;
            }
            catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
            {
                return null; // a C library from before 2018
            }
        }
    }

    [LibraryImport("libc")]
    private static partial int statx(int folder, byte* path, int flags, uint mask, byte* status);

    [LibraryImport("libc")]
    private static partial uint geteuid();
}
