namespace AttnCompose.Cuda;

/// <summary>
/// The kernels of one call in order, with everything that the driver is told of each. A list is filled again call by call;
/// nothing is allocated once it has been as long.
/// </summary>
internal sealed class LaunchList : IDisposable
{
    private readonly List<Launch> _launches = [];

    /// <summary>Kernels.</summary>
    public int Count { get; private set; }

    /// <summary>The arguments of the kernel that would be added next.</summary>
    public KernelArguments NextArguments
    {
        get
        {
            if (Count == _launches.Count)
                _launches.Add(new Launch());
            return _launches[Count].Arguments;
        }
    }

    /// <summary>Adds a kernel whose arguments are <see cref="NextArguments"/>.</summary>
    public void Add(CudaKernel kernel, in LaunchGrid grid, int sharedBytes)
    {
        Launch launch = _launches[Count++];
        (launch.Kernel, launch.Grid, launch.SharedBytes) = (kernel, grid, sharedBytes);
    }

    /// <summary>Forgets all kernels.</summary>
    public void Clear() => Count = 0;

    /// <summary>Puts the kernels on a stream, one by one.</summary>
    public void LaunchOn(CudaStream stream)
    {
        for (int i = 0; i < Count; i++)
        {
            Launch launch = _launches[i];
            launch.Kernel!.Launch(in launch.Grid, launch.SharedBytes, launch.Arguments, stream);
        }
    }

    /// <summary>Whether another list has the same kernels, in clusters of the same size.</summary>
    public bool HasKernelsOf(LaunchList other)
    {
        if (Count != other.Count)
            return false;
        for (int i = 0; i < Count; i++)
        {
            (Launch one, Launch two) = (_launches[i], other._launches[i]);
            if (one.Kernel != two.Kernel || one.Grid.Team != two.Grid.Team)
                return false;
        }
        return true;
    }

    /// <summary>Whether another list of the same kernels has the same grids and arguments too.</summary>
    public bool HasArgumentsOf(LaunchList other)
    {
        for (int i = 0; i < Count; i++)
        {
            (Launch one, Launch two) = (_launches[i], other._launches[i]);
            if (one.Grid != two.Grid || one.SharedBytes != two.SharedBytes
                || !one.Arguments.Content.SequenceEqual(two.Arguments.Content))
                return false;
        }
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Launch launch in _launches)
            launch.Arguments.Dispose();
    }

    private sealed class Launch
    {
        public readonly KernelArguments Arguments = new();
        public CudaKernel? Kernel;
        public LaunchGrid Grid;
        public int SharedBytes;
    }
}
