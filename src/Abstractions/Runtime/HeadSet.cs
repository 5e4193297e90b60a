using System.Runtime.InteropServices;

namespace AttnCompose;

/// <summary>
/// A set of query heads, each below <see cref="Capacity"/>. A value: it travels with a call, and to a device as an argument.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct HeadSet
{
    /// <summary>Heads that a set can hold: 0 to 255.</summary>
    public const int Capacity = 256;

    private const int WordBits = 64;

    private readonly ulong _word0, _word1, _word2, _word3;

    /// <summary>A set of some heads.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A head is negative, or <see cref="Capacity"/> or more.</exception>
    public HeadSet(params ReadOnlySpan<int> heads)
    {
        foreach (int head in heads)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)head, (uint)Capacity, nameof(heads));
            ulong bit = 1UL << (head % WordBits);
            switch (head / WordBits)
            {
                case 0: _word0 |= bit; break;
                case 1: _word1 |= bit; break;
                case 2: _word2 |= bit; break;
                default: _word3 |= bit; break;
            }
        }
    }

    /// <summary>Whether there is no head.</summary>
    public bool IsEmpty => this == default;

    /// <summary>The highest head; -1 where there is none.</summary>
    public int Highest
    {
        get
        {
            int head = Capacity - 1;
            while (head >= 0 && !Contains(head))
                head--;
            return head;
        }
    }

    /// <summary>Whether a head is in the set.</summary>
    public bool Contains(int head) => (uint)head < Capacity && (Word(head / WordBits) >> (head % WordBits) & 1) != 0;

    /// <summary>The heads, ascending.</summary>
    public override string ToString()
    {
        HeadSet set = this;
        return string.Join(", ", Enumerable.Range(0, Capacity).Where(set.Contains));
    }

    private ulong Word(int index) => index switch { 0 => _word0, 1 => _word1, 2 => _word2, _ => _word3 };
}
