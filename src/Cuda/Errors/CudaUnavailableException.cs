namespace AttnCompose.Cuda;

/// <summary>A library or a device that CUDA needs is not there. The message names everything that was tried.</summary>
public sealed class CudaUnavailableException : Exception
{
    internal CudaUnavailableException(string message, IReadOnlyList<LibraryAttempt>? tried = null)
        : base(tried is { Count: > 0 } ? $"{message} Tried:\n{string.Join('\n', tried.Select(t => $"  {t}"))}" : message) =>
        Tried = tried ?? [];

    /// <summary>Every file that was tried, and what came of it.</summary>
    public IReadOnlyList<LibraryAttempt> Tried { get; }
}
