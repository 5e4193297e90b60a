namespace AttnCompose.Pipelines;

/// <summary>Bits of a block list: bit j of a span of words is bit j % 64 of word j / 64.</summary>
internal static class BlockWords
{
    private const int WordBits = 64;

    /// <summary>Words that hold a number of bits.</summary>
    public static int Count(int bits) => (bits + WordBits - 1) / WordBits;

    /// <summary>Sets the bits [begin, end).</summary>
    public static void SetRange(Span<ulong> words, int begin, int end)
    {
        for (int bit = begin; bit < end;)
        {
            int offset = bit % WordBits, count = Math.Min(WordBits - offset, end - bit);
            words[bit / WordBits] |= (count == WordBits ? ulong.MaxValue : (1UL << count) - 1) << offset;
            bit += count;
        }
    }

    /// <summary>Sets one bit.</summary>
    public static void Set(Span<ulong> words, int bit) => words[bit / WordBits] |= 1UL << (bit % WordBits);

    /// <summary>Whether a bit is set.</summary>
    public static bool Has(ReadOnlySpan<ulong> words, int bit) => (words[bit / WordBits] >> (bit % WordBits) & 1) != 0;

    /// <summary>Whether one of the bits [first, last] is set, those below <paramref name="count"/>; bits below 0 are not.</summary>
    public static bool Any(ReadOnlySpan<ulong> words, int first, int last, int count)
    {
        first = Math.Max(first, 0);
        last = Math.Min(last, count - 1);
        for (int word = first / WordBits; word * WordBits <= last; word++)
        {
            ulong bits = words[word];
            if (word == first / WordBits)
                bits &= ulong.MaxValue << (first % WordBits);
            if (word == last / WordBits)
                bits &= ulong.MaxValue >> (WordBits - 1 - last % WordBits);
            if (bits != 0)
                return true;
        }
        return false;
    }
}
