namespace AttnCompose.Cuda;

/// <summary>One try to load a native library.</summary>
/// <param name="Path">File, folder or bare name.</param>
/// <param name="Outcome">What came of it: <c>loaded</c>, <c>no such file</c>, or the loader's complaint.</param>
public sealed record LibraryAttempt(string Path, string Outcome)
{
    /// <summary>Whether this is the one that was loaded.</summary>
    public bool Loaded => Outcome == LoadedText;

    internal const string LoadedText = "loaded";

    /// <inheritdoc/>
    public override string ToString() => $"{Path}: {Outcome}";
}
