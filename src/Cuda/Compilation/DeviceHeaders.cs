using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;

namespace AttnCompose.Cuda;

/// <summary>A device header: the name it is included by, and its text.</summary>
public sealed record DeviceHeader(string Name, string Text);

/// <summary>Collects the headers that a text includes, directly or through others, from the resources of assemblies.</summary>
public static partial class DeviceHeaders
{
    /// <summary>All headers of a source, ordered by name.</summary>
    /// <exception cref="KernelCompilationException">A header is missing. The message names who includes it and where it was
    /// searched.</exception>
    public static IReadOnlyList<DeviceHeader> Collect(KernelSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        Assembly[] assemblies = [typeof(DeviceHeaders).Assembly, .. source.HeaderAssemblies.Distinct()];
        var found = new SortedDictionary<string, DeviceHeader>(StringComparer.Ordinal);
        var open = new Queue<(string Name, string Text)>();
        open.Enqueue((source.Name, source.CudaText));
        while (open.TryDequeue(out var includer))
        {
            foreach (Match include in Include().Matches(includer.Text))
            {
                string name = include.Groups[1].Value;
                if (found.ContainsKey(name))
                    continue;
                string text = Read(name, assemblies) ?? throw Missing(source, includer.Name, name, assemblies);
                found.Add(name, new DeviceHeader(name, text));
                open.Enqueue((name, text));
            }
        }
        return [.. found.Values];
    }

    private static string? Read(string name, Assembly[] assemblies)
    {
        foreach (Assembly assembly in assemblies)
        {
            using Stream? stream = assembly.GetManifestResourceStream(name);
            if (stream is null)
                continue;
            using var reader = new StreamReader(stream, Encoding.UTF8);
            return reader.ReadToEnd();
        }
        return null;
    }

    private static KernelCompilationException Missing(
        KernelSource source, string includer, string name, Assembly[] assemblies) => new(
        source.Name,
        $"{includer} includes <{name}>, which is no resource of {string.Join(", ", assemblies.Select(a => a.GetName().Name))}. "
        + "A stage's header lies beside its C# as a .cuh file, in a project that references AttnCompose.Abstractions.");

    // Only our own headers: others are NVRTC's own, or an error that it reports better.
    [GeneratedRegex("""^[ \t]*#[ \t]*include[ \t]*[<"](attncompose/[^>"\r\n]+)[>"]""", RegexOptions.Multiline)]
    private static partial Regex Include();
}
