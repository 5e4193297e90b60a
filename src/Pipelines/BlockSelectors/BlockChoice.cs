using System.Runtime.CompilerServices;

namespace AttnCompose.Pipelines;

/// <summary>
/// Where a ranking is cut: a score is kept where its key is above <paramref name="Key"/>, and where it equals it and is among the
/// first <paramref name="Ties"/> that do.
/// </summary>
/// <param name="Key">Key of the lowest score that is kept.</param>
/// <param name="Ties">How many of the scores with that key are kept, lowest index first.</param>
/// <param name="Kept">Scores that are kept.</param>
internal readonly record struct Cut(uint Key, int Ties, int Kept)
{
    /// <summary>Keeps all of a number of scores.</summary>
    public static Cut Everything(int count) => new(0, count, count);

    /// <summary>Keeps none.</summary>
    public static Cut Nothing => new(uint.MaxValue, 0, 0);
}

/// <summary>
/// Which of many scores are kept: the highest few, or the fewest that together hold a share of the mass. Ties go to the lower
/// index. Integers only: from the same scores a device decides alike (<c>attncompose/block_lists/block_choice.cuh</c>).
/// </summary>
/// <remarks>
/// The mass of a score p, a probability or a mean of them, is trunc(p * 2^39), 0 for p &lt;= 0 and NaN; p counts as 1 beyond 1.
/// NaN ranks lowest.
/// </remarks>
internal static class BlockChoice
{
    private const int DigitBits = 8;
    private const int Digits = 1 << DigitBits;
    private const float MassOfOne = 549755813888; // 2^39

    /// <summary>The <paramref name="wanted"/> highest scores.</summary>
    public static Cut Highest(ReadOnlySpan<float> scores, int wanted)
    {
        if (wanted <= 0)
            return Cut.Nothing;
        if (wanted >= scores.Length)
            return Cut.Everything(scores.Length);
        (uint key, ulong before) = Crossing(scores, (ulong)wanted, counts: true);
        return new Cut(key, wanted - (int)before, wanted);
    }

    /// <summary>The fewest scores, highest first, whose masses sum to ceil(share * their total): none where that is 0.</summary>
    /// <param name="scores">At most 2^24 in number or in sum, so that the mass fits 64 bits.</param>
    /// <param name="share">In [0, 1].</param>
    public static Cut Covering(ReadOnlySpan<float> scores, double share)
    {
        ulong total = 0;
        foreach (float score in scores)
            total += Mass(score);
        return Reaching(scores, Target(share, total));
    }

    /// <summary>The same for a target mass, at most the total.</summary>
    public static Cut Reaching(ReadOnlySpan<float> scores, ulong target)
    {
        if (target == 0)
            return Cut.Nothing;
        (uint key, ulong before) = Crossing(scores, target, counts: false);
        int ties = (int)((target - before - 1) / MassOfKey(key)) + 1;
        int above = 0;
        foreach (float score in scores)
            above += Key(score) > key ? 1 : 0;
        return new Cut(key, ties, above + ties);
    }

    /// <summary>ceil(round(share * 2^63) * total / 2^63), exactly; the rounding goes to even.</summary>
    public static ulong Target(double share, ulong total)
    {
        var factor = (ulong)Math.Round(share * 9223372036854775808.0, MidpointRounding.ToEven);
        return (ulong)(((UInt128)factor * total + (UInt128.One << 63) - 1) >> 63);
    }

    /// <summary>Mass of a score.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Mass(float score) => score > 0 ? (ulong)(MathF.Min(score, 1) * MassOfOne) : 0;

    /// <summary>Sets the bits of the scores that are kept.</summary>
    public static void Mark(ReadOnlySpan<float> scores, Cut cut, Span<ulong> words)
    {
        int ties = cut.Ties;
        for (int i = 0; i < scores.Length; i++)
        {
            if (Keeps(scores[i], cut, ref ties))
                BlockWords.Set(words, i);
        }
    }

    /// <summary>The indices of the scores that are kept, ascending.</summary>
    public static void Collect(ReadOnlySpan<float> scores, Cut cut, Span<int> indices)
    {
        int ties = cut.Ties, count = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            if (Keeps(scores[i], cut, ref ties))
                indices[count++] = i;
        }
    }

    /// <summary>Whether the next score in order is kept; <paramref name="ties"/> begins as those of the cut.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Keeps(float score, Cut cut, ref int ties)
    {
        uint key = Key(score);
        return key > cut.Key || (key == cut.Key && ties-- > 0);
    }

    // The key at which the running weight, from the highest key down, reaches the target, and the weight above it. Digit by digit
    // from the top: only keys that share the digits found so far count on.
    private static (uint Key, ulong Before) Crossing(ReadOnlySpan<float> scores, ulong target, bool counts)
    {
        Span<ulong> totals = stackalloc ulong[Digits];
        uint found = 0;
        ulong before = 0;
        for (int shift = 32 - DigitBits; shift >= 0; shift -= DigitBits)
        {
            totals.Clear();
            foreach (float score in scores)
            {
                uint key = Key(score);
                if (shift + DigitBits == 32 || key >> (shift + DigitBits) == found)
                    totals[(int)(key >> shift) & (Digits - 1)] += counts ? 1 : MassOfKey(key);
            }
            int digit = Digits - 1;
            for (; before + totals[digit] < target; digit--)
                before += totals[digit];
            found = (found << DigitBits) | (uint)digit;
        }
        return (found, before);
    }

    // Unsigned integers in the order of the scores; NaN is lowest.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Key(float score)
    {
        int bits = BitConverter.SingleToInt32Bits(score);
        return float.IsNaN(score) ? 0 : (uint)(bits ^ ((bits >> 31) | int.MinValue));
    }

    private static ulong MassOfKey(uint key) => key >> 31 != 0 ? Mass(BitConverter.UInt32BitsToSingle(key ^ 0x8000_0000)) : 0;
}
