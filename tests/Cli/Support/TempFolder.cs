namespace AttnCompose.Cli.Tests;

/// <summary>A folder that goes away with the test.</summary>
internal sealed class TempFolder : IDisposable
{
    private readonly string _path = Directory.CreateTempSubdirectory("attncompose-cli-").FullName;

    public string PathOf(string name) => Path.Combine(_path, name);

    public IEnumerable<string> Files => Directory.EnumerateFiles(_path).Select(file => Path.GetFileName(file)).Order();

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
