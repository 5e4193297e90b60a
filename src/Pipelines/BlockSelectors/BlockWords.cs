namespace AttnCompose.Pipelines;

/// <summary>Bits of a block list: bit j of a span of words is bit j % 64 of word j / 64.</summary>
internal static class BlockWords
{
    private const int WordBits = 64;

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
}
