using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>The calls that one tuning is for.</summary>
internal readonly record struct TuningClass(int HeadDim, ElementType Element);

/// <summary>
/// What <c>attncompose tune</c> chose, in a file beside the compiled kernels, one a model of GPU and version of the driver. Text: the
/// SHA-256 of all that follows, the format, the device, then a line a class of calls. What does not verify, line by line, is as
/// if it were not there.
/// </summary>
internal static class TuningFile
{
    public const string Extension = ".tuning";
    private const string Format = "attncompose tuning 1";
    private const int MostBytes = 1 << 16;

    /// <summary>What a file is for: model, multiprocessors, memory, the driver's version.</summary>
    public static string DeviceKey(CudaDevice device)
    {
        device.Context.Check(device.Context.Driver.DriverVersion(out int driver), "cuDriverGetVersion");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{device.Model.ReplaceLineEndings(" ")}, {device.MultiprocessorCount} multiprocessors, {device.TotalMemory} bytes, driver {driver}");
    }

    /// <summary>The file of a device in a cache folder; null where the folder is not used.</summary>
    public static string? PathFor(CudaDevice device, KernelCache cache) =>
        cache is { Directory: { } folder, Refusal: null }
            ? Path.Combine(folder, Hash(DeviceKey(device))[..32] + Extension)
            : null;

    /// <summary>The tunings of a device; none where there is no file that verifies.</summary>
    public static IReadOnlyList<(TuningClass Class, CudaTuning Tuning)> Read(CudaDevice device, KernelCache cache)
    {
        try
        {
            if (PathFor(device, cache) is not { } path)
                return [];
            var info = new FileInfo(path);
            if (!info.Exists || info.LinkTarget is not null || info.Length > MostBytes)
                return [];
            return Parse(File.ReadAllText(path, Encoding.UTF8), DeviceKey(device)) ?? [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Puts tunings into a device's file; those of other classes stay.</summary>
    /// <returns>The file.</returns>
    /// <exception cref="IOException">It cannot be written, or the folder is not used.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    public static string Write(CudaDevice device, KernelCache cache, IReadOnlyList<(TuningClass Class, CudaTuning Tuning)> tunings)
    {
        string path = PathFor(device, cache) ?? throw new IOException(
            $"{cache.Directory ?? "The cache folder"} is not used, because {cache.Refusal}.");
        IEnumerable<(TuningClass Class, CudaTuning Tuning)> others =
            Read(device, cache).Where(old => tunings.All(tuning => tuning.Class != old.Class));
        string text = Text(DeviceKey(device), [.. others, .. tunings]);
        string beside = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        try
        {
            using (var stream = new FileStream(beside, options))
            {
                stream.Write(Encoding.UTF8.GetBytes(text));
                stream.Flush(flushToDisk: true);
            }
            File.Move(beside, path, overwrite: true);
        }
        finally
        {
            File.Delete(beside); // where it was not moved
        }
        return path;
    }

    internal static string Text(string device, IEnumerable<(TuningClass Class, CudaTuning Tuning)> tunings)
    {
        var body = new StringBuilder().Append(Format).Append('\n').Append(device).Append('\n');
        foreach (var (of, tuning) in tunings)
        {
            body.Append(CultureInfo.InvariantCulture, $"{of.HeadDim} {of.Element} {tuning.GatherLength} {tuning.MaxWorkspace} ")
                .Append(CultureInfo.InvariantCulture, $"{tuning.GraphKernels} {tuning.TeamBlocks}\n");
        }
        return $"{Hash(body.ToString())}\n{body}";
    }

    /// <summary>The tunings of a text; null where it does not verify.</summary>
    internal static IReadOnlyList<(TuningClass Class, CudaTuning Tuning)>? Parse(string text, string device)
    {
        int end = text.IndexOf('\n', StringComparison.Ordinal);
        if (end < 0 || !string.Equals(text[..end], Hash(text[(end + 1)..]), StringComparison.Ordinal))
            return null;
        string[] lines = text[(end + 1)..].Split('\n');
        if (lines is not [Format, var of, .. var entries, ""] || of != device)
            return null;
        var tunings = new List<(TuningClass, CudaTuning)>();
        foreach (string entry in entries)
        {
            if (entry.Split(' ') is not [var dim, var element, var gather, var workspace, var graph, var team]
                || !Number(dim, 8, 256, out long headDim) || !Enum.TryParse(element, out ElementType type)
                || !Number(gather, 0, int.MaxValue, out long length) || !Number(workspace, 0, long.MaxValue, out long bytes)
                || !Number(graph, 1, int.MaxValue, out long kernels) || !Number(team, 1, 8, out long blocks))
                return null;
            tunings.Add((new((int)headDim, type), new()
            {
                GatherLength = (int)length, MaxWorkspace = bytes, GraphKernels = (int)kernels, TeamBlocks = (int)blocks,
            }));
        }
        return tunings;
    }

    private static bool Number(string text, long least, long most, out long value) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value >= least && value <= most;

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
