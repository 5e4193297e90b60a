namespace AttnCompose.Models;

/// <summary>Writes files whole or not at all.</summary>
internal static class AtomicFile
{
    /// <summary>Writes beside <paramref name="path"/>, then renames; on any failure what was written is deleted.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes the content.</param>
    /// <param name="error">Makes the exception that reports a failure of the file system.</param>
    public static void Write(string path, Action<Stream> write, Func<string, Exception, Exception> error)
    {
        string? partial = null;
        try
        {
            string full = Path.GetFullPath(path);
            partial = Path.Combine(Path.GetDirectoryName(full) ?? full, $".{Path.GetFileName(full)}.{Guid.NewGuid():N}.partial");
            using (var stream = new FileStream(partial, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(partial, full, overwrite: true);
        }
        catch (Exception exception)
        {
            if (partial is not null)
                TryDelete(partial);
            if (exception is IOException or UnauthorizedAccessException or NotSupportedException)
                throw error($"{path}: cannot be written: {exception.Message}", exception);
            throw;
        }
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The first failure is the one to report.
        }
    }
}
