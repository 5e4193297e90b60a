using Microsoft.CodeAnalysis;

namespace AttnCompose.Architecture;

/// <summary>
/// Everything that this test process can load, as references of an in-memory compilation; the generator left out, which no
/// program references.
/// </summary>
internal static class PlatformAssemblies
{
    public static IReadOnlyList<MetadataReference> References { get; } =
        [.. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!)
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Where(path => File.Exists(path) && Path.GetFileName(path) != "AttnCompose.Generators.dll")
            .Select(path => MetadataReference.CreateFromFile(path))];
}
