namespace AttnCompose.Pipelines.Tests.FlashAttention;

public class NonFiniteTests
{
    private const int Tile = 192; // keys of a tile: rows before it do not visit it

    public static TheoryData<int> AllWidths => FlashAttentionTests.AllWidths;

    private static AttentionData<float, float> Causal(int bits) => new AttentionCase
    {
        Seed = 1, Queries = 400, Keys = 400, Dim = 32, Mask = AttentionMask.Causal, Bits = bits,
    }.Data<float, float>();

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void A_query_that_is_not_a_number_spoils_its_own_row_alone(int bits)
    {
        AttentionData<float, float> data = Causal(bits);
        AttentionData<float, float> clean = Causal(bits).Run();
        data.Query[50 * 32 + 3] = float.NaN;
        data.Run();
        for (int row = 0; row < 400; row++)
        {
            if (row == 50)
                Assert.All(data.OutputRow(0, 0, row), value => Assert.True(float.IsNaN(value)));
            else
                Assert.Equal(clean.OutputRow(0, 0, row), data.OutputRow(0, 0, row));
        }
        Assert.True(float.IsNaN(data.LogSumExpAt(0, 0, 50)));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_key_that_is_not_finite_reaches_no_row_before_its_tile(float bad)
    {
        foreach (int bits in FlashAttentionTests.Widths)
        {
            AttentionData<float, float> data = Causal(bits);
            AttentionData<float, float> clean = Causal(bits).Run();
            for (int i = 0; i < 32; i++)
                data.Key[(Tile + 8) * 32 + i] = bad;
            data.Run();
            for (int row = 0; row < Tile; row++)
                Assert.Equal(clean.OutputRow(0, 0, row), data.OutputRow(0, 0, row));
            for (int row = Tile + 8; row < 400; row++)
                Assert.Contains(data.OutputRow(0, 0, row), value => float.IsNaN(value));
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void A_value_that_is_not_finite_reaches_every_row_that_sees_it(float bad)
    {
        foreach (int bits in FlashAttentionTests.Widths)
        {
            AttentionData<float, float> data = Causal(bits);
            AttentionData<float, float> clean = Causal(bits).Run();
            data.Value[(Tile + 8) * 32 + 5] = bad;
            data.Run();
            for (int row = 0; row < Tile; row++)
                Assert.Equal(clean.OutputRow(0, 0, row), data.OutputRow(0, 0, row));
            for (int row = Tile + 8; row < 400; row++)
            {
                Assert.False(float.IsFinite(data.OutputRow(0, 0, row)[5]));
                Assert.Equal(clean.OutputRow(0, 0, row)[6], data.OutputRow(0, 0, row)[6]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Scores_that_are_all_minus_infinity_mask_the_row(int bits)
    {
        var c = new AttentionCase { Queries = 20, Keys = 30, Dim = 8, Bits = bits };
        AttentionData<float, float> data = c.Data<float, float>();
        Array.Fill(data.Query, 1);
        Array.Fill(data.Key, float.NegativeInfinity);
        data.Run();
        Assert.All(data.Output, value => Assert.Equal(0u, BitConverter.SingleToUInt32Bits(value)));
        Assert.All(data.LogSumExp, value => Assert.Equal(float.NegativeInfinity, value));
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void A_key_at_minus_infinity_gets_no_weight(int bits)
    {
        var c = new AttentionCase { Queries = 20, Keys = 30, Dim = 8, Bits = bits };
        AttentionData<float, float> data = c.Data<float, float>();
        Array.Fill(data.Query, 1);
        Array.Fill(data.Key, 0);
        Array.Fill(data.Value, 1);
        data.Key.AsSpan(8 * 8, 8).Fill(float.NegativeInfinity);
        data.Value.AsSpan(8 * 8, 8).Fill(1000);
        data.Run();
        Assert.All(data.Output, value => Assert.Equal(1, value, 1e-6f));
        Assert.All(data.LogSumExp, value => Assert.Equal(MathF.Log(29), value, 1e-5f));
    }
}
