using AttnCompose.Cpu;

namespace AttnCompose;

/// <summary>
/// Where a pipeline runs. Made by <see cref="Cpu"/> here and by <c>AttentionDevice.Cuda(n)</c> in AttnCompose.Cuda; there is
/// never a silent fallback from one to the other.
/// </summary>
public abstract class AttentionDevice : IDisposable
{
    /// <summary>The name that the command line uses: <c>cpu</c> or <c>cuda:0</c>.</summary>
    public abstract string Name { get; }

    /// <summary>What the device is, for people.</summary>
    public abstract string Description { get; }

    /// <summary>The CPU with a pool of persistent workers of its own.</summary>
    /// <param name="threads">Workers, the calling thread included; 0 for one per logical processor.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="threads"/> is negative or above 1024.</exception>
    public static CpuDevice Cpu(int threads = 0) => new(threads);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the device holds.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Name} ({Description})";
}
