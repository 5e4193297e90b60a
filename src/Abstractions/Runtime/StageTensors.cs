using System.Buffers;
using System.Numerics.Tensors;

namespace AttnCompose;

/// <summary>
/// Tensors that stages of a pipeline take from the caller, in host memory. A pipeline that takes some has a class <c>Tensors</c> of
/// its own with a member for each; a program that chooses pipelines by name sets them by the names in
/// <see cref="PipelinePlan.Tensors"/>. Made once, as for the weights of a layer, it serves any number of calls.
/// </summary>
public class StageTensors
{
    private readonly List<Entry> _entries = [];

    /// <summary>Sets the tensor of a name.</summary>
    public void Set<T>(string name, Tensor<T> tensor)
        where T : unmanaged
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(tensor);
        _entries.RemoveAll(entry => entry.Name == name);
        _entries.Add(new Entry<T>(name, tensor));
    }

    /// <summary>Refuses tensors that are missing, do not fit, or are none that a pipeline takes.</summary>
    /// <exception cref="ArgumentException">The message says what is there and what is needed.</exception>
    internal static void Check(StageTensors? given, string pipeline, IReadOnlyList<TensorPlan> taken, in ProblemShape shape)
    {
        for (int i = 0; i < given?._entries.Count; i++)
            TensorPlan.CheckName(pipeline, taken, given._entries[i].Name);
        for (int i = 0; i < taken.Count; i++)
        {
            if (given?.Find(taken[i].Name) is { } entry)
                entry.Check(taken[i], pipeline, in shape);
            else
                taken[i].Check(pipeline, in shape, null, [], []);
        }
    }

    /// <summary>Pins a tensor that was checked.</summary>
    internal MemoryHandle Pin(string name) => Find(name)!.Pin();

    /// <summary>Bytes of a tensor that was checked.</summary>
    internal long BytesOf(string name) => Find(name)!.Bytes;

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

        public abstract long Bytes { get; }

        public abstract void Check(TensorPlan plan, string pipeline, in ProblemShape shape);

        public abstract MemoryHandle Pin();
    }

    private sealed class Entry<T>(string name, Tensor<T> tensor) : Entry(name)
        where T : unmanaged
    {
        public override unsafe long Bytes => tensor.FlattenedLength * sizeof(T);

        public override void Check(TensorPlan plan, string pipeline, in ProblemShape shape) =>
            plan.Check(pipeline, in shape, typeof(T), tensor.Lengths, tensor.Strides);

        public override MemoryHandle Pin() => tensor.GetPinnedHandle();
    }
}
