using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>The generated pipelines against the oracle: what the generator put together is what the stages are.</summary>
public sealed class ReadyPipelineTests : IDisposable
{
    private readonly CpuDevice _device = AttentionDevice.Cpu(2);

    [Fact]
    public void GeneratedPipelinesAgreeWithTheOracle()
    {
        var failures = new List<string>();
        for (int seed = 0; seed < 400; seed++)
        {
            // What the declarations fix.
            PipelineConfig config = PipelineConfig.Random(seed) with
            {
                Mask = AttentionMask.Causal, Rule = RuleKind.None, Window = 128, Pool = 7, RoundScores = false,
                Score = default, Budget = default, Scope = default,
            };
            if (config.QueryLength > config.KeyLength)
                config = config with { QueryLength = config.KeyLength };
            using IAttentionPipeline pipeline = ReadyConfigs.Create(config, _device);
            var inputs = new PipelineCase(config);
            failures.AddRange(inputs.Check(inputs.Run(pipeline)));
        }
        Assert.True(failures.Count == 0, $"{failures.Count} failures\n{string.Join('\n', failures.Take(10))}");
    }

    [Fact]
    public void PipelinesWithABlockSelectorAgreeWithTheOracle()
    {
        var failures = new List<string>();
        foreach (BlockSelectorKind selector in Enum.GetValues<BlockSelectorKind>().Where(kind => kind != BlockSelectorKind.None))
        {
            for (int seed = 0; seed < 40; seed++)
            {
                PipelineConfig config = PipelineConfig.Random(seed) with
                {
                    Mask = AttentionMask.Causal, Rule = RuleKind.None, Window = 128, Pool = 7, RoundScores = false,
                    BlockSelector = selector, Score = default, Budget = default, Scope = default,
                };
                using IAttentionPipeline pipeline = ReadyConfigs.Create(config, _device);
                var inputs = new PipelineCase(config);
                failures.AddRange(inputs.Check(inputs.Run(pipeline)));
            }
        }
        Assert.True(failures.Count == 0, $"{failures.Count} failures\n{string.Join('\n', failures.Take(10))}");
    }

    [Fact]
    public void PipelinesOfAScoreAndABudgetAgreeWithTheOracle()
    {
        var failures = new List<string>();
        for (int seed = 0; seed < 40 * TokenSettings.Ready.Count; seed++)
        {
            PipelineConfig config = TokenSettings.AsReady(
                PipelineConfig.Random(seed) with
                {
                    Mask = AttentionMask.Causal, Rule = RuleKind.None, Window = 128, RoundScores = false, Sparse = true,
                },
                seed % TokenSettings.Ready.Count);
            if (config.QueryLength > config.KeyLength)
                config = config with { QueryLength = config.KeyLength };
            using IAttentionPipeline pipeline = ReadyConfigs.Create(config, _device);
            var inputs = new PipelineCase(config);
            failures.AddRange(inputs.Check(inputs.Run(pipeline)));
        }
        Assert.True(failures.Count == 0, $"{failures.Count} failures\n{string.Join('\n', failures.Take(10))}");
    }

    [Theory]
    [InlineData(1, 128)] // the window is always kept
    [InlineData(300, 300)]
    [InlineData(1000, 700)] // there are no more
    public void AFixedCountIsWhatEveryHeadKeeps(int count, int kept)
    {
        PipelineConfig config = StageTests.Base with { KeyLength = 700, Window = 128, Count = count };
        using IAttentionPipeline pipeline = ReadyConfigs.Create(config, _device);
        PipelineResult result = new PipelineCase(config).Run(pipeline);
        Assert.All(result.Positions!, positions => Assert.Equal(kept, positions.Length));
        Assert.Empty(new PipelineCase(config).Check(result));
    }

    [Fact]
    public void DefaultsAreThoseOfTheStage()
    {
        Assert.Equal(0.005, TokenSparsePrefill.Plan.Parameters.Single(p => p.Name == "Coverage").Value);
        Assert.Equal(1024, TokenSparsePrefill.Plan.Parameters.Single(p => p.Name == "MinTokens").Value);
        Assert.Equal(128, TokenSparsePrefill.Plan.Parameters.Single(p => p.Name == "Window").Value);
        Assert.Equal(7, TokenSparsePrefill.Plan.Parameters.Single(p => p.Name == "Pool").Value);
        Assert.Equal(0, TokenSparsePrefill.Plan.Parameters.Single(p => p.Name == "RoundScoresToBFloat16").Value);
    }

    public void Dispose() => _device.Dispose();
}
