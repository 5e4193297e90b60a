using AttnCompose.Testing;

namespace AttnCompose.Architecture;

/// <summary>The files of the checkout that belong to the project.</summary>
internal static class Files
{
    private static readonly string[] Roots = ["src", "tests", "samples", "docs", "benchmarks", "eng", ".ci", ".github"];

    private static readonly string[] Text =
    [
        ".cs", ".cuh", ".cu", ".md", ".txt", ".csproj", ".props", ".targets", ".sln", ".sh", ".json", ".jsonl", ".yml", ".yaml",
        ".editorconfig", ".gitignore", ".gitattributes", ".clang-format", "",
    ];

    /// <summary>Source, documentation and configuration, build outputs left out.</summary>
    public static IEnumerable<string> AllText =>
        Roots.SelectMany(root => Under(root, [.. Text]))
            .Concat(Directory.EnumerateFiles(Repository.Root).Where(file => Text.Contains(Path.GetExtension(file))));

    /// <summary>Files below a folder with one of some extensions, in order; none where there is no such folder.</summary>
    public static IEnumerable<string> Under(string folder, params string[] extensions)
    {
        string root = Repository.PathOf(folder);
        if (!Directory.Exists(root))
            return [];
        return Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories)
            .Where(file => extensions.Contains(Path.GetExtension(file)) && !IsOutput(Path.GetRelativePath(root, file)))
            .Order(StringComparer.Ordinal);
    }

    /// <summary>The path from the root of the checkout, with forward slashes.</summary>
    public static string Name(string file) => Path.GetRelativePath(Repository.Root, file).Replace('\\', '/');

    private static bool IsOutput(string relative)
    {
        string[] parts = relative.Split('/', '\\');
        return parts.Any(part => part is "bin" or "obj" or "artifacts") || parts[^1].Contains(".received.", StringComparison.Ordinal);
    }
}
