using System.Runtime.InteropServices;

namespace AttnCompose.Cpu;

/// <summary>A span argument of a rule, pinned for the duration of one call.</summary>
/// <typeparam name="T">float, int or bool.</typeparam>
public readonly unsafe struct RuleSpan<T>
    where T : unmanaged
{
    private readonly T* _data;

    internal RuleSpan(T* data, int length)
    {
        _data = data;
        Length = length;
    }

    /// <summary>Elements.</summary>
    public int Length { get; }

    /// <summary>The elements.</summary>
    public static implicit operator ReadOnlySpan<T>(RuleSpan<T> span) => new(span._data, span.Length);
}

/// <summary>The span arguments of a pipeline's rules in one call on host memory. Generated code fills it.</summary>
public ref struct RuleSpans
{
    /// <summary>Most spans that the rules of a pipeline may have.</summary>
    public const int Most = 8;

    private ReadOnlySpan<byte> _0, _1, _2, _3, _4, _5, _6, _7;
    private Entries _entries;

    /// <summary>Spans added.</summary>
    public int Count { get; private set; }

    /// <summary>The bytes of a span; empty beyond <see cref="Count"/>.</summary>
    public readonly ReadOnlySpan<byte> this[int index] => index switch
    {
        0 => _0,
        1 => _1,
        2 => _2,
        3 => _3,
        4 => _4,
        5 => _5,
        6 => _6,
        _ => _7,
    };

    /// <summary>Adds the next span.</summary>
    /// <param name="span">The elements.</param>
    /// <param name="name">Its name, for messages.</param>
    /// <param name="axes">What it has an element for at least.</param>
    public void Add<T>(ReadOnlySpan<T> span, string name, RuleAxes axes) where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfEqual(Count, Most);
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(span);
        switch (Count)
        {
            case 0: _0 = bytes; break;
            case 1: _1 = bytes; break;
            case 2: _2 = bytes; break;
            case 3: _3 = bytes; break;
            case 4: _4 = bytes; break;
            case 5: _5 = bytes; break;
            case 6: _6 = bytes; break;
            default: _7 = bytes; break;
        }
        _entries[Count++] = (name, axes, span.Length);
    }

    /// <summary>Elements of a span.</summary>
    public readonly int LengthOf(int index) => _entries[index].Length;

    /// <summary>Refuses a span that lacks an element for a part of the problem that a rule indexes it by.</summary>
    /// <exception cref="ArgumentException">The message says what it has and what it needs.</exception>
    public readonly void Check(in ProblemShape shape)
    {
        for (int i = 0; i < Count; i++)
            Check(_entries[i].Name, _entries[i].Axes, _entries[i].Length, in shape);
    }

    /// <summary>The same of one span, by its length alone.</summary>
    /// <exception cref="ArgumentException">The message says what it has and what it needs.</exception>
    public static void Check(string name, RuleAxes axes, long length, in ProblemShape shape)
    {
        Need(RuleAxes.Batch, shape.Batch, "sequence");
        Need(RuleAxes.QueryHeads, shape.QueryHeads, "query head");
        Need(RuleAxes.KeyValueHeads, shape.KeyValueHeads, "key/value head");
        Need(RuleAxes.Keys, shape.KeyLength, "key");

        void Need(RuleAxes axis, int count, string what)
        {
            if ((axes & axis) != 0 && length < count)
                throw new ArgumentException($"{name} has {length} elements; a rule reads one a {what}, and there are {count}.", name);
        }
    }

    [System.Runtime.CompilerServices.InlineArray(Most)]
    private struct Entries
    {
        private (string Name, RuleAxes Axes, int Length) _first;
    }
}
