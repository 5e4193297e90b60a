using System.Runtime.CompilerServices;

namespace AttnCompose.Pipelines;

/// <summary>
/// How many prefix tokens a layer keeps. Mass is summed in integers, so neither the order of summation nor the machine
/// changes the answer, and no sort is needed: the cut is found by descending through the bits of the means, with the mass
/// of each digit known.
/// </summary>
internal static class TokenBudget
{
    /// <summary>Largest prefix whose total mass fits 64 bits: each token's mass is below 2^40.</summary>
    public const int MaxPrefix = 1 << 24;

    private const int MassBits = 40;
    private const int FractionBits = 23;
    private const int DigitBits = 11;
    private const int Digits = 1 << DigitBits;

    /// <summary>Number of prefix tokens kept, at least <paramref name="minTokens"/> and at most all of them.</summary>
    /// <param name="mean">Mean score of each of at most <see cref="MaxPrefix"/> tokens, free of subnormals and -0.</param>
    /// <param name="coverage">Share of the mass to drop, in [0, 1].</param>
    /// <param name="minTokens">Tokens kept whatever their mass; it may exceed the prefix.</param>
    public static int KeptPrefix(ReadOnlySpan<float> mean, double coverage, int minTokens)
    {
        int count = mean.Length;
        if (minTokens >= count || !TryLargest(mean, takesNone: false, out uint largest))
            return count;
        var scale = new MassScale(largest);
        ulong total = 0;
        foreach (float value in mean)
            total += scale.Mass(value);
        int below = CountBelow(mean, scale, Target(coverage, total));
        int drop = below == 0 ? 0 : below + 1;
        return Math.Max(minTokens, count - drop);
    }

    /// <summary>
    /// Number of highest-scored tokens that together hold a share of the scores, at least <paramref name="minTokens"/> and at
    /// most all of them. One token fewer would not.
    /// </summary>
    /// <param name="scores">Score of each of at most <see cref="MaxPrefix"/> tokens, free of subnormals and -0; -inf for one
    /// that takes no part.</param>
    /// <param name="share">Share of the scores to hold, in [0, 1].</param>
    /// <param name="minTokens">Tokens kept whatever their score; it may exceed the prefix.</param>
    public static int FewestHolding(ReadOnlySpan<float> scores, double share, int minTokens)
    {
        int count = scores.Length;
        if (minTokens >= count || !TryLargest(scores, takesNone: true, out uint largest))
            return count;
        var scale = new MassScale(largest);
        ulong total = 0;
        foreach (float value in scores)
            total += scale.Mass(value);
        ulong held = Target(share, total);
        int fewest = held == 0 ? 0 : count - CountBelow(scores, scale, total - held + 1);
        return Math.Max(minTokens, fewest);
    }

    /// <summary>ceil(round(coverage * 2^63) * total / 2^63); exact.</summary>
    private static ulong Target(double coverage, ulong total)
    {
        var share = (ulong)Math.Round(coverage * 9223372036854775808.0, MidpointRounding.ToEven);
        UInt128 product = (UInt128)share * total;
        return (ulong)((product + (UInt128.One << 63) - 1) >> 63);
    }

    /// <summary>Bits of the largest mean; false where it is not positive or a mean is infinite or NaN.</summary>
    /// <param name="mean">The means.</param>
    /// <param name="takesNone">Whether -inf weighs nothing instead.</param>
    /// <param name="largest">The bits.</param>
    private static bool TryLargest(ReadOnlySpan<float> mean, bool takesNone, out uint largest)
    {
        largest = 0;
        foreach (float value in mean)
        {
            uint bits = BitConverter.SingleToUInt32Bits(value);
            if ((bits & 0x7F80_0000) == 0x7F80_0000 && !(takesNone && bits == 0xFF80_0000))
                return false;
            if (bits < 0x8000_0000)
                largest = Math.Max(largest, bits);
        }
        return largest != 0;
    }

    /// <summary>How many tokens, taken in ascending order of mass, have an inclusive cumulative mass below the target.</summary>
    private static int CountBelow(ReadOnlySpan<float> mean, MassScale scale, ulong target)
    {
        if (target == 0)
            return 0;
        // The bits of a mean > 0 ascend with it, and its mass does not descend; means <= 0 weigh nothing and come first.
        // So the tokens at the cut share a prefix of bits, found digit by digit. The loop keeps: the tokens below `prefix`
        // weigh less than the target, and with those that begin with it they reach it.
        int below = 0;
        ulong massBelow = 0;
        uint prefix = 0;
        int shift = 32;
        Span<int> counts = stackalloc int[Digits];
        Span<ulong> masses = stackalloc ulong[Digits];
        while (shift > 0)
        {
            int width = Math.Min(DigitBits, shift);
            int upper = shift;
            shift -= width;
            counts.Clear();
            masses.Clear();
            foreach (float value in mean)
            {
                uint bits = Key(value);
                if (upper < 32 && bits >> upper != prefix)
                    continue;
                int digit = (int)((bits >> shift) & ((1u << width) - 1));
                counts[digit]++;
                masses[digit] += scale.Mass(value);
            }
            int cut = 0;
            while (massBelow + masses[cut] < target)
            {
                massBelow += masses[cut];
                below += counts[cut++];
            }
            prefix = (prefix << width) | (uint)cut;
        }
        // All tokens at the cut are equal; the j-th of them stays below the target while massBelow + j * mass < target.
        // Their mass is not 0, or the descent would have passed them.
        ulong mass = scale.Mass(BitConverter.UInt32BitsToSingle(prefix));
        return below + (int)((target - massBelow - 1) / mass);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Key(float value) => value > 0 ? BitConverter.SingleToUInt32Bits(value) : 0;

    /// <summary>Turns a mean into units of 2^(e - 39), where e is the exponent of the largest mean.</summary>
    private readonly struct MassScale(uint largestBits)
    {
        private readonly int _exponent = (int)(largestBits >> FractionBits);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public ulong Mass(float value)
        {
            if (!(value > 0))
                return 0;
            uint bits = BitConverter.SingleToUInt32Bits(value);
            ulong significand = (bits & ((1u << FractionBits) - 1)) | (1u << FractionBits);
            int lower = _exponent - (int)(bits >> FractionBits);
            int shift = MassBits - 1 - FractionBits - lower;
            return shift >= 0 ? significand << shift : -shift > FractionBits ? 0 : significand >> -shift;
        }
    }
}
