namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>Sets of heads, and what a call with dense heads refuses.</summary>
public sealed class HeadSetTests
{
    [Fact]
    public void What_goes_in_is_in()
    {
        int[] heads = [0, 5, 63, 64, 130, 200, 255];
        var set = new HeadSet(heads);
        Assert.Equal(heads, Enumerable.Range(-3, 300).Where(set.Contains));
        Assert.Equal((255, false, -1, true), (set.Highest, set.IsEmpty, default(HeadSet).Highest, default(HeadSet).IsEmpty));
        Assert.Equal("0, 5, 63, 64, 130, 200, 255", set.ToString());
        Assert.Equal(new HeadSet(7, 3), new HeadSet(3, 7));
        Assert.Throws<ArgumentOutOfRangeException>(() => new HeadSet(256));
        Assert.Throws<ArgumentOutOfRangeException>(() => new HeadSet(-1));
    }

    [Fact]
    public void Dense_heads_that_cannot_be_are_refused()
    {
        var data = new float[2 * 100 * 8];
        using AttentionDevice device = AttentionDevice.Cpu(1);
        using Streaming streaming = Streaming.Create(device);
        using DenseAttention dense = DenseAttention.Create(device);
        Assert.Contains("head 2; there are 2 query heads", Refused(streaming, new HeadSet(2)));
        Assert.Contains("no block selector that chooses", Refused(dense, new HeadSet(0)));

        string Refused(IAttentionPipeline pipeline, HeadSet heads)
        {
            ArgumentException error = Assert.Throws<ArgumentException>(() => pipeline.Run(new AttentionArguments<float, float>
            {
                Query = AttentionTensor.FromBhld(data, 1, 2, 100, 8), Key = AttentionTensor.FromBhld(data, 1, 2, 100, 8),
                Value = AttentionTensor.FromBhld(data, 1, 2, 100, 8),
                Output = AttentionTensor.FromBhld(new float[data.Length], 1, 2, 100, 8),
                DenseHeads = heads,
            }));
            Assert.Equal("DenseHeads", error.ParamName);
            return error.Message;
        }
    }
}
