namespace AttnCompose.Cli;

/// <summary>The file that a command is to write; the writers themselves write it whole or not at all.</summary>
internal static class OutputFile
{
    /// <summary>Fails early where the file could never be written, or would replace what the command reads.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="input">A file that the command reads; null for none.</param>
    /// <exception cref="UsageException">Both are one file.</exception>
    /// <exception cref="CommandException">The folder does not exist, or the path is a folder.</exception>
    public static void Check(string path, string? input)
    {
        StringComparison comparison = OperatingSystem.IsLinux() ? StringComparison.Ordinal : StringComparison.OrdinalIgnoreCase;
        if (input is not null && string.Equals(Path.GetFullPath(path), Path.GetFullPath(input), comparison))
            throw new UsageException($"'{path}' is the input; writing would replace it. Name another file.");
        if (Directory.Exists(path))
            throw new CommandException($"'{path}' is a folder; a file name is needed.");
        string? folder = Path.GetDirectoryName(Path.GetFullPath(path));
        if (!Directory.Exists(folder))
            throw new CommandException($"The folder of '{path}' does not exist.");
    }
}
