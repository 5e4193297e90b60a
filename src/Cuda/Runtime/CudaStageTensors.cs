namespace AttnCompose.Cuda;

/// <summary>
/// Tensors that stages of a pipeline take from the caller, in device memory: the counterpart of <see cref="StageTensors"/>. The
/// generated <c>CudaTensors</c> of a pipeline derives from it. The tensors are the caller's; a call reads them where they are.
/// </summary>
public class CudaStageTensors
{
    private readonly List<Entry> _entries = [];

    /// <summary>Sets the tensor of a name.</summary>
    public void Set<T>(string name, CudaTensor<T> tensor)
        where T : unmanaged
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(tensor);
        _entries.RemoveAll(entry => entry.Name == name);
        _entries.Add(new Entry<T>(name, tensor));
    }

    /// <summary>Refuses tensors that are missing, do not fit, are on another device, or are none that a pipeline takes.</summary>
    /// <exception cref="ArgumentException">The message says what is there and what is needed.</exception>
    internal static void Check(
        CudaStageTensors? given, string pipeline, IReadOnlyList<TensorPlan> taken, CudaDevice device, in ProblemShape shape)
    {
        for (int i = 0; i < given?._entries.Count; i++)
            TensorPlan.CheckName(pipeline, taken, given._entries[i].Name);
        for (int i = 0; i < taken.Count; i++)
        {
            if (given?.Find(taken[i].Name) is not { } entry)
            {
                taken[i].Check(pipeline, in shape, null, [], []);
                continue;
            }
            if (entry.Device.Ordinal != device.Ordinal)
                throw new ArgumentException($"{entry.Name} is on {entry.Device.Name}; the pipeline is on {device.Name}.", entry.Name);
            entry.Check(taken[i], pipeline, in shape);
        }
    }

    /// <summary>Device address of a tensor that was checked.</summary>
    internal nint PointerOf(string name) => Find(name)!.Pointer;

    private Entry? Find(string name)
    {
        foreach (Entry entry in _entries)
        {
            if (entry.Name == name)
                return entry;
        }
        return null;
    }

    private abstract class Entry(string name)
    {
        public string Name { get; } = name;

        public abstract CudaDevice Device { get; }

        public abstract nint Pointer { get; }

        public abstract void Check(TensorPlan plan, string pipeline, in ProblemShape shape);
    }

    private sealed class Entry<T>(string name, CudaTensor<T> tensor) : Entry(name)
        where T : unmanaged
    {
        public override CudaDevice Device => tensor.Device;

        public override nint Pointer => tensor.Pointer;

        public override void Check(TensorPlan plan, string pipeline, in ProblemShape shape) =>
            plan.Check(pipeline, in shape, typeof(T), tensor.Lengths, tensor.Strides);
    }
}
