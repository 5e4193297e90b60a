namespace AttnCompose.Models.Tests;

internal sealed class TemporaryDirectory : IDisposable
{
    private readonly string _path = Directory.CreateTempSubdirectory("attncompose-models-").FullName;

    public string this[string name] => Path.Combine(_path, name);

    public string[] Entries => Directory.GetFileSystemEntries(_path);

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
