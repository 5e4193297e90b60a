using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>The calls that one tuning is for.</summary>
/// <param name="HeadDim">Head dim.</param>
/// <param name="Element">Element of query, key and value.</param>
/// <param name="Mask">The mask of the pipeline.</param>
/// <param name="IsLong">Whether there are <see cref="LongFrom"/> queries and more, so that the last wave of blocks matters little.</param>
internal readonly record struct TuningClass(int HeadDim, ElementType Element, AttentionMask Mask, bool IsLong)
{
    /// <summary>Queries of a long call, at the least.</summary>
    public const int LongFrom = 4096;

    /// <summary>The mask as files and tables have it.</summary>
    public string MaskWord => Mask == AttentionMask.Causal ? "causal" : "full";

    /// <summary>The length as files and tables have it.</summary>
    public string LengthWord => IsLong ? Long : Short;

    internal const string Short = "short", Long = "long";

    /// <summary>Both masks, short and long calls of each.</summary>
    public static IEnumerable<TuningClass> Of(int headDim, ElementType element) =>
        from mask in (AttentionMask[])[AttentionMask.Causal, AttentionMask.Full]
        from isLong in (bool[])[false, true]
        select new TuningClass(headDim, element, mask, isLong);
}

/// <summary>
/// What <c>attncompose tune</c> chose, in a file beside the compiled kernels, one a model of GPU and version of the driver. Text: the
/// SHA-256 of all that follows, the format, the device, then a line a class of calls. What does not verify, line by line, is as
/// if it were not there.
/// </summary>
internal static class TuningFile
{
    public const string Extension = ".tuning";
    private const string Format = "attncompose tuning 2";
    private const string DefaultTile = "default";
    private const int MostBytes = 1 << 16;

    /// <summary>What a file is for: model, multiprocessors, memory, the driver's version.</summary>
    public static string DeviceKey(CudaDevice device)
    {
        device.Context.Check(device.Context.Driver.DriverVersion(out int driver), "cuDriverGetVersion");
        return DeviceKey(device.Model, device.MultiprocessorCount, device.TotalMemory, driver);
    }

    /// <summary>The same of a device that is not opened.</summary>
    public static string DeviceKey(string model, int multiprocessors, long memoryBytes, int driver) => string.Create(
        CultureInfo.InvariantCulture,
        $"{model.ReplaceLineEndings(" ")}, {multiprocessors} multiprocessors, {memoryBytes} bytes, driver {driver}");

    /// <summary>The file of a device in a cache folder; null where the folder is not used.</summary>
    public static string? PathFor(CudaDevice device, KernelCache cache) => PathFor(DeviceKey(device), cache);

    private static string? PathFor(string device, KernelCache cache) =>
        cache is { Directory: { } folder, Refusal: null }
            ? Path.Combine(folder, Hash(device)[..32] + Extension)
            : null;

    /// <summary>The tunings of a device; none where there is no file that verifies.</summary>
    public static IReadOnlyList<(TuningClass Class, CudaTuning Tuning)> Read(CudaDevice device, KernelCache cache) =>
        Read(DeviceKey(device), cache);

    /// <summary>The same by a device's key.</summary>
    public static IReadOnlyList<(TuningClass Class, CudaTuning Tuning)> Read(string device, KernelCache cache)
    {
        try
        {
            if (PathFor(device, cache) is not { } path)
                return [];
            var info = new FileInfo(path);
            if (!info.Exists || info.LinkTarget is not null || info.Length > MostBytes)
                return [];
            return Parse(File.ReadAllText(path, Encoding.UTF8), device) ?? [];
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
            body.Append(CultureInfo.InvariantCulture, $"{of.HeadDim} {of.Element} {of.MaskWord} {of.LengthWord} ")
                .Append(CultureInfo.InvariantCulture, $"{tuning.GatherLength} {tuning.MaxWorkspace} {tuning.GraphKernels} ")
                .Append(CultureInfo.InvariantCulture, $"{tuning.TeamBlocks} {tuning.AttentionTile?.ToString() ?? DefaultTile}\n");
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
            if (entry.Split(' ') is not
                    [var dim, var element, var mask, var calls, var gather, var workspace, var graph, var team, var shape]
                || mask is not ("causal" or "full") || calls is not (TuningClass.Short or TuningClass.Long)
                || !Number(dim, 8, 256, out long headDim) || !Enum.TryParse(element, out ElementType type)
                || !Number(gather, 0, int.MaxValue, out long length) || !Number(workspace, 0, long.MaxValue, out long bytes)
                || !Number(graph, 1, int.MaxValue, out long kernels) || !Number(team, 1, 8, out long blocks)
                || (!AttentionTile.TryParse(shape, out AttentionTile tile) && shape != DefaultTile))
                return null;
            AttentionMask masked = mask == "causal" ? AttentionMask.Causal : AttentionMask.Full;
            tunings.Add((new((int)headDim, type, masked, calls == TuningClass.Long), new()
            {
                GatherLength = (int)length, MaxWorkspace = bytes, GraphKernels = (int)kernels, TeamBlocks = (int)blocks,
                // A set of another version may have had others.
                AttentionTile = AttentionTile.OthersFor((int)headDim).Contains(tile) ? tile : null,
            }));
        }
        return tunings;
    }

    private static bool Number(string text, long least, long most, out long value) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value >= least && value <= most;

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
