namespace AttnCompose.Testing;

/// <summary>The checkout that the running tests were built from.</summary>
internal static class Repository
{
    /// <summary>Its root folder, found upwards from the test assembly: no path is compiled in.</summary>
    public static string Root { get; } = Find();

    /// <summary>A path below the root, given with forward slashes.</summary>
    public static string PathOf(string relative) => Path.Combine([Root, .. relative.Split('/')]);

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "AttnCompose.sln")))
                return folder.FullName;
        }
        throw new DirectoryNotFoundException($"No AttnCompose.sln above {AppContext.BaseDirectory}.");
    }
}
