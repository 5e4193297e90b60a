namespace AttnCompose.Pipelines.Tests.Calls;

/// <summary>Rounding to the nearest bfloat16, ties to even; NaN stays NaN.</summary>
public sealed class BFloat16Tests
{
    [Fact]
    public void Every_value_survives_the_way_to_float_and_back()
    {
        for (int bits = 0; bits <= ushort.MaxValue; bits++)
        {
            BFloat16 value = BFloat16.FromBits((ushort)bits);
            if (BFloat16.IsNaN(value))
            {
                Assert.True(BFloat16.IsNaN((BFloat16)(float)value), $"{bits:x4}");
                Assert.True(BFloat16.IsNaN((BFloat16)(double)value), $"{bits:x4}");
                continue;
            }
            Assert.Equal((ushort)bits, BFloat16.ToBits((BFloat16)(float)value));
            Assert.Equal((ushort)bits, BFloat16.ToBits((BFloat16)(double)value));
        }
    }

    [Fact]
    public void Between_two_neighbours_the_nearer_is_taken_and_ties_go_to_the_even_one()
    {
        // Positive finite values are ordered as their bits; the one after the largest is infinity, at 2^128.
        for (int bits = 0; bits < 0x7F80; bits++)
        {
            double low = Value(bits), high = bits + 1 < 0x7F80 ? Value(bits + 1) : double.ScaleB(1, 128);
            double middle = low + (high - low) / 2;
            int even = bits % 2 == 0 ? bits : bits + 1;
            Rounds(middle, even);
            Rounds(double.BitDecrement(middle), bits);
            Rounds(double.BitIncrement(middle), bits + 1);
            Assert.Equal(even, BFloat16.ToBits((BFloat16)(float)middle));
            Assert.Equal(bits, BFloat16.ToBits((BFloat16)float.BitDecrement((float)middle)));
            Assert.Equal(bits + 1, BFloat16.ToBits((BFloat16)float.BitIncrement((float)middle)));
        }

        static double Value(int bits) => (double)BFloat16.FromBits((ushort)bits);

        static void Rounds(double value, int bits)
        {
            Assert.Equal(bits, BFloat16.ToBits((BFloat16)value));
            Assert.Equal(bits | 0x8000, BFloat16.ToBits((BFloat16)(-value)));
        }
    }

    [Theory]
    [InlineData(0x7F800001u)] // all of its payload lies in the bits that are cut off
    [InlineData(0xFF80FFFFu)]
    [InlineData(0x7FFFFFFFu)]
    public void A_nan_is_not_rounded_to_infinity(uint bits)
    {
        var rounded = (BFloat16)BitConverter.UInt32BitsToSingle(bits);
        Assert.True(BFloat16.IsNaN(rounded));
        Assert.Equal(bits >> 31, (uint)BFloat16.ToBits(rounded) >> 15);
    }
}
