namespace AttnCompose.Cli;

/// <summary>Writes a file whole or not at all: under another name beside it first, renamed when complete.</summary>
internal static class OutputFile
{
    /// <summary>Fails early where the file could never be written.</summary>
    /// <exception cref="CommandException">The folder does not exist, or the path is a folder.</exception>
    public static void Check(string path)
    {
        if (Directory.Exists(path))
            throw new CommandException($"'{path}' is a folder; a file name is needed.");
        string? folder = Path.GetDirectoryName(Path.GetFullPath(path));
        if (!Directory.Exists(folder))
            throw new CommandException($"The folder of '{path}' does not exist.");
    }

    /// <summary>Writes through a temporary file in the same folder.</summary>
    /// <param name="path">The file; replaced where it exists.</param>
    /// <param name="write">Writes to the path that it is given.</param>
    public static void Write(string path, Action<string> write)
    {
        string partial = $"{path}.{Guid.NewGuid():N}.partial";
        try
        {
            write(partial);
            File.Move(partial, path, overwrite: true);
        }
        catch
        {
            File.Delete(partial);
            throw;
        }
    }
}
