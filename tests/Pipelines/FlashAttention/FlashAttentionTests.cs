using System.Runtime.Intrinsics;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines.Tests.FlashAttention;

public class FlashAttentionTests
{
    private const AttentionMask Causal = AttentionMask.Causal;

    /// <summary>Vector widths that this processor has; 256 runs everywhere.</summary>
    public static int[] Widths => Vector512.IsHardwareAccelerated ? [256, 512] : [256];

    public static TheoryData<int> AllWidths => [.. Widths];

    /// <summary>Seeds in groups, so that a failure of one group leaves the others to be seen.</summary>
    public static TheoryData<int, int> Groups
    {
        get
        {
            var groups = new TheoryData<int, int>();
            foreach (int bits in Widths)
            {
                for (int first = 0; first < 200; first += 20)
                    groups.Add(first, bits);
            }
            return groups;
        }
    }

    [Theory]
    [MemberData(nameof(Groups))]
    public void Random_problems_agree_with_plain_loops(int first, int bits)
    {
        for (int seed = first; seed < first + 20; seed++)
        {
            AttentionCase c = AttentionCase.Random(seed, bits);
            switch (seed % 5)
            {
                case 0: PlainAttention.Check(c.Data<Half, float>().Run()); break;
                case 1: PlainAttention.Check(c.Data<BFloat16, float>().Run()); break;
                case 2: PlainAttention.Check(c.Data<Half, Half>().Run()); break;
                case 3: PlainAttention.Check(c.Data<BFloat16, BFloat16>().Run()); break;
                default: PlainAttention.Check(c.Data<float, float>().Run()); break;
            }
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Every_head_dim_agrees_with_plain_loops(int bits)
    {
        for (int dim = 8; dim <= 256; dim += 8)
        {
            var c = new AttentionCase { Seed = dim, Queries = 29, Keys = 61, Dim = dim, Mask = Causal, Bits = bits };
            PlainAttention.Check(c.Data<float, float>().Run());
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Every_causal_length_agrees_with_plain_loops(int bits)
    {
        for (int length = 1; length <= 300; length += length is > 85 and < 105 or > 185 and < 205 ? 1 : 5)
        {
            var c = new AttentionCase { Queries = length, Keys = length, Dim = 16, Mask = Causal, Bits = bits };
            PlainAttention.Check(c.Data<float, float>().Run());
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void More_queries_than_keys_are_fine_without_a_mask(int bits)
    {
        var c = new AttentionCase { Queries = 230, Keys = 7, Dim = 40, Rule = Rule.Alibi, Bits = bits };
        PlainAttention.Check(c.Data<float, float>().Run());
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void No_keys_at_all_give_zero_and_minus_infinity(int bits)
    {
        var c = new AttentionCase { Queries = 5, Keys = 0, Dim = 24, Bits = bits };
        AttentionData<float, float> data = c.Data<float, float>().Run();
        Assert.All(data.Output, value => Assert.Equal(0u, BitConverter.SingleToUInt32Bits(value)));
        Assert.All(data.LogSumExp, value => Assert.Equal(float.NegativeInfinity, value));
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Scores_of_thousands_neither_overflow_nor_lose_the_largest(int bits)
    {
        var c = new AttentionCase { Seed = 3, Queries = 100, Keys = 250, Dim = 32, Scale = 300, Bits = bits };
        AttentionData<float, float> data = c.Data<float, float>();
        for (int i = 0; i < data.Query.Length; i++)
            data.Query[i] = MathF.Round(data.Query[i]);
        for (int i = 0; i < data.Key.Length; i++)
            data.Key[i] = MathF.Round(data.Key[i]);
        // Scores are 300 times a whole number: ties share a row, all else vanishes, and rounding of the scale moves ties alike.
        PlainAttention.Check(data.Run());
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Later_keys_with_far_larger_scores_leave_no_trace(int bits)
    {
        for (int offset = 0; offset <= 24; offset++)
        {
            var c = new AttentionCase { Seed = 4, Queries = 200, Keys = 200 + offset, Dim = 8, Mask = Causal, Scale = 100, Bits = bits };
            AttentionData<float, float> data = c.Data<float, float>();
            Array.Fill(data.Query, 1);
            for (int i = 0; i < data.Key.Length; i++)
                data.Key[i] = (i / c.Dim / 16f) - 16; // each score is 50 above the one before, all are far below zero
            PlainAttention.Check(data.Run());
        }
    }

    [Fact]
    public void Results_do_not_depend_on_the_number_of_workers()
    {
        for (int seed = 0; seed < 40; seed++)
        {
            AttentionCase c = AttentionCase.Random(seed, Widths[^1]);
            AttentionData<float, float> one = (c with { Workers = 1 }).Data<float, float>().Run();
            for (int workers = 2; workers <= 3; workers++)
            {
                AttentionData<float, float> more = (c with { Workers = workers }).Data<float, float>().Run();
                AssertSameBits(one.Output, more.Output, c);
                AssertSameBits(one.LogSumExp, more.LogSumExp, c);
            }
        }
    }

    [Fact]
    public void Results_do_not_depend_on_the_other_sequences_of_a_batch()
    {
        var c = new AttentionCase
        {
            Seed = 5, Batch = 3, QueryHeads = 4, KeyHeads = 2, Queries = 150, Keys = 230, Dim = 48, Mask = AttentionMask.Causal,
            Varlen = true, Bits = Widths[^1],
        };
        AttentionData<float, float> all = c.Data<float, float>().Run();
        for (int b = 0; b < c.Batch; b++)
        {
            AttentionData<float, float> alone = (c with { Batch = 1 }).Data<float, float>();
            alone.KeyLengths[0] = all.KeyLengths[b];
            alone.QueryLengths[0] = all.QueryLengths[b];
            all.Query.AsSpan(b * alone.Query.Length, alone.Query.Length).CopyTo(alone.Query);
            all.Key.AsSpan(b * alone.Key.Length, alone.Key.Length).CopyTo(alone.Key);
            all.Value.AsSpan(b * alone.Value.Length, alone.Value.Length).CopyTo(alone.Value);
            alone.Run();
            AssertSameBits(all.Output.AsSpan(b * alone.Output.Length, alone.Output.Length), alone.Output, c);
        }
    }

    [Fact]
    public void Packing_fewer_heads_at_a_time_changes_no_bit()
    {
        for (int seed = 100; seed < 120; seed++)
        {
            AttentionCase c = AttentionCase.Random(seed, Widths[^1]);
            AttentionData<float, float> together = c.Data<float, float>().Run();
            CpuFlashAttention.ForcePackedBytes(1 + seed % 3 * 200_000);
            try
            {
                AttentionData<float, float> apart = c.Data<float, float>().Run();
                AssertSameBits(together.Output, apart.Output, c);
                AssertSameBits(together.LogSumExp, apart.LogSumExp, c);
            }
            finally
            {
                CpuFlashAttention.ForcePackedBytes(0);
            }
        }
    }

    [Fact]
    public void Keeping_every_row_gives_the_bits_of_dense_attention()
    {
        var c = new AttentionCase
        {
            Seed = 6, QueryHeads = 4, KeyHeads = 2, Queries = 200, Keys = 280, Dim = 64, Mask = Causal, Bits = Widths[^1],
        };
        AttentionData<float, float> dense = c.Data<float, float>().Run();
        AttentionData<float, float> kept = (c with { Indexed = true }).Data<float, float>();
        for (int h = 0; h < c.QueryHeads; h++)
        {
            for (int p = 0; p < c.Keys; p++)
                kept.Selection.Buffer(0, h)[p] = p;
            kept.Selection.SetCounts(0, h, c.Keys, c.Keys - c.Queries);
        }
        kept.Run();
        AssertSameBits(dense.Output, kept.Output, c);
        AssertSameBits(dense.LogSumExp, kept.LogSumExp, c);
    }

    [Fact]
    public void Vector_widths_agree_to_rounding()
    {
        if (Widths is not [256, 512])
            return;
        AttentionCase c = AttentionCase.Random(11, 256);
        AttentionData<float, float> narrow = c.Data<float, float>().Run();
        AttentionData<float, float> wide = (c with { Bits = 512 }).Data<float, float>().Run();
        for (int i = 0; i < narrow.Output.Length; i++)
            Assert.Equal(narrow.Output[i], wide.Output[i], 2e-6f);
    }

    internal static void AssertSameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, AttentionCase c)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            if (BitConverter.SingleToUInt32Bits(expected[i]) != BitConverter.SingleToUInt32Bits(actual[i]))
                Assert.Fail($"element {i}: {expected[i]:R} and {actual[i]:R} differ; replay: {c}");
        }
    }
}
