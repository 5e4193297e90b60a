using AttnCompose.Conformance;
using AttnCompose.Cpu;
using AttnCompose.Pipelines.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>What token selection, gather and scatter promise beyond agreeing with the oracle.</summary>
public sealed class StageTests : IDisposable
{
    private readonly CpuDevice _device = AttentionDevice.Cpu(2);

    internal static PipelineConfig Base => new()
    {
        Seed = 42, Element = ElementType.BFloat16, FloatOutput = true, Batch = 2, QueryHeads = 4, KeyValueHeads = 2,
        QueryLength = 500, KeyLength = 500, HeadDim = 64, Mask = AttentionMask.Causal, VaryLengths = false,
        Content = TensorContent.Normal, Layout = TensorLayout.Bhld, Rule = RuleKind.None, Threads = 2, Sparse = true,
        Coverage = 0.3, Window = 32, Pool = 7, MinTokens = 16, RoundScores = false,
    };

    [Fact]
    public void KeepingAllIsDenseAttentionToTheBit()
    {
        PipelineConfig[] keepAll = [Base with { Coverage = 0 }, Base with { MinTokens = 468 }, Base with { Window = 500 }];
        foreach (PipelineConfig config in keepAll)
        {
            PipelineResult sparse = Run(config), dense = Run(config with { Sparse = false });
            Assert.Equal(dense.Output, sparse.Output);
            Assert.Equal(dense.LogSumExp, sparse.LogSumExp);
        }
    }

    [Fact]
    public void WorkersAndVectorWidthDoNotChangeTheSelection()
    {
        PipelineConfig config = Base with { KeyLength = 700 };
        PipelineResult expected = Run(config);
        using CpuDevice one = AttentionDevice.Cpu(1), five = AttentionDevice.Cpu(5);
        Assert.Equal(expected.Scores, Run(config, one).Scores);
        Assert.Equal(expected.Positions, Run(config, one).Positions);
        Assert.Equal(expected.Output, Run(config, five).Output);
        KernelWidth.Force(256);
        try
        {
            PipelineResult narrow = Run(config);
            Assert.Equal(expected.Scores, narrow.Scores);
            Assert.Equal(expected.Positions, narrow.Positions);
            Assert.Empty(new PipelineCase(config).Check(narrow));
        }
        finally
        {
            KernelWidth.Force(0);
        }
    }

    [Fact]
    public void EqualKeysGetEqualScoresInWhateverTileTheyStand()
    {
        PipelineResult result = Run(Base with { Content = TensorContent.Ties, Pool = 1, KeyLength = 900, QueryLength = 900 });
        foreach (float[] scores in result.Scores!)
            Assert.Equal(3, scores.Distinct().Count());
    }

    [Fact]
    public void ASequenceDoesNotDependOnItsNeighbours()
    {
        // Same inputs, once as a batch of two and once one by one.
        PipelineConfig config = Base;
        var both = new PipelineCase(config);
        PipelineResult together = Run(config);
        for (int batch = 0; batch < 2; batch++)
        {
            using var alone = new SingleRun(both, batch, _device);
            for (int head = 0; head < config.QueryHeads; head++)
                Assert.Equal(together.Positions![batch * config.QueryHeads + head], alone.Selection.Positions(0, head).ToArray());
            Assert.Equal(together.Output[(batch * alone.Output.Length)..((batch + 1) * alone.Output.Length)], alone.Output);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void ScoresThatAreNotFiniteKeepEverything(float poison)
    {
        PipelineConfig config = Base with { Element = ElementType.Float32, Batch = 1 };
        var inputs = new PipelineCase(config);
        inputs.Key[100 * 64] = poison;
        using IAttentionPipeline pipeline = StagePipeline.Create(config, _device);
        PipelineResult result = inputs.Run(pipeline);
        Assert.All(result.Positions!, positions => Assert.Equal(500, positions.Length));
    }

    [Fact]
    public void SkippedRowsAreAllZeroBits()
    {
        Half[] row = [Half.NaN, (Half)(-1), Half.NegativeZero];
        new ScatterTokensAttribute().Destination(new TokenSelection()).Skip<Half>(row);
        Assert.All(row, value => Assert.Equal(0, BitConverter.HalfToInt16Bits(value)));
    }

    [Fact]
    public void WorkspaceHoldsEveryDeclaredBufferInLongArithmetic()
    {
        var workspace = new WorkspaceLayout();
        var selector = new TokenCoverageAttribute { Coverage = 0.1, Window = 128, Pool = 7 };
        selector.DescribeWorkspace(new ProblemShape(2, 64, 8, 1 << 24, 1 << 24, 128), workspace);
        string[] declared = [.. typeof(TokenCoverageAttribute).GetCustomAttributes(typeof(DeviceBufferAttribute), true)
            .Cast<DeviceBufferAttribute>().Select(buffer => buffer.Name).Order()];
        Assert.Equal(declared, workspace.Buffers.Select(buffer => buffer.Name).Order());
        Assert.Equal(2L * 64 * 64 * 128 * 8, workspace.Buffers.Single(buffer => buffer.Name == "row_partials").Bytes);
        Assert.Equal(2L * 64 * (1 << 24) * 4, workspace.Buffers.Single(buffer => buffer.Name == "scores").Bytes);
        Assert.Equal(8, workspace.Buffers.Single(buffer => buffer.Name == "budget").Bytes);
    }

    public void Dispose() => _device.Dispose();

    private PipelineResult Run(PipelineConfig config, CpuDevice? device = null)
    {
        using IAttentionPipeline pipeline = StagePipeline.Create(config, device ?? _device);
        return new PipelineCase(config).Run(pipeline);
    }

    private sealed class SingleRun : IDisposable
    {
        private readonly IAttentionPipeline _pipeline;

        public SingleRun(PipelineCase inputs, int batch, CpuDevice device)
        {
            PipelineConfig config = inputs.Config;
            _pipeline = StagePipeline.Create(config, device);
            int queries = inputs.Query.Length / config.Batch, keys = inputs.Key.Length / config.Batch;
            Output = new float[queries];
            _pipeline.Run(new AttentionArguments<BFloat16, float>
            {
                Query = View(inputs.Query, batch, config.QueryHeads, config.QueryLength),
                Key = View(inputs.Key, batch, config.KeyValueHeads, config.KeyLength),
                Value = View(inputs.Value, batch, config.KeyValueHeads, config.KeyLength),
                Output = AttentionTensor.FromBhld(Output.AsSpan(), 1, config.QueryHeads, config.QueryLength, config.HeadDim),
                Selection = Selection,
            });

            System.Numerics.Tensors.ReadOnlyTensorSpan<BFloat16> View(float[] values, int index, int heads, int length)
            {
                int size = heads * length * config.HeadDim;
                BFloat16[] data = [.. values.AsSpan(index * size, size).ToArray().Select(value => (BFloat16)value)];
                return AttentionTensor.FromBhld<BFloat16>(data, 1, heads, length, config.HeadDim);
            }
        }

        public TokenSelection Selection { get; } = new();

        public float[] Output { get; }

        public void Dispose() => _pipeline.Dispose();
    }
}
