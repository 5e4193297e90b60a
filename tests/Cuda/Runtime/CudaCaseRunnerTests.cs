using AttnCompose.Conformance;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>The conformance runner on a device whose kernels do nothing: nothing passes that nobody computed.</summary>
public sealed class CudaCaseRunnerTests
{
    private static readonly PipelineConfig s_dense = ReadyConfigs.Random(1) with
    {
        Sparse = false, Batch = 1, QueryHeads = 2, KeyValueHeads = 1, QueryLength = 20, KeyLength = 20, HeadDim = 64,
        Element = ElementType.BFloat16, FloatOutput = false, VaryLengths = false,
    };

    [NvrtcFact]
    public void Outputs_that_nobody_wrote_fail_and_nothing_is_leaked()
    {
        var driver = new FakeDriver { ReadsCubins = true };
        var inputs = new PipelineCase(s_dense);
        using (var device = new CudaDevice(driver, 0))
        using (IAttentionPipeline pipeline = ReadyConfigs.Create(s_dense, device))
        using (var runner = new CudaCaseRunner(device))
        {
            PipelineResult result = runner.Run(inputs, (ICudaAttentionPipeline)pipeline, times: 3);
            Assert.Empty(result.Faults); // all runs agree, and nothing was written beside the outputs
            Assert.All(result.Output, value => Assert.True(float.IsNaN(value)));
            Assert.All(result.LogSumExp, value => Assert.True(float.IsNaN(value)));
            Assert.Contains(inputs.Check(result), failure => failure.Contains("NaN", StringComparison.Ordinal));
        }
        Assert.Empty(driver.Allocations);
    }

    [NvrtcFact]
    public void A_selection_that_nobody_made_is_refused()
    {
        PipelineConfig config = s_dense with { Sparse = true, QueryLength = 200, KeyLength = 200 };
        using var device = new CudaDevice(new FakeDriver { ReadsCubins = true }, 0);
        using IAttentionPipeline pipeline = ReadyConfigs.Create(config, device);
        using var runner = new CudaCaseRunner(device);
        Assert.Throws<InvalidOperationException>(
            () => runner.Run(new PipelineCase(config), (ICudaAttentionPipeline)pipeline, times: 1));
    }
}
