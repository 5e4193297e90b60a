using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>Allocation is counted for the whole process, so this runs with the tests that run alone.</summary>
[Collection("Alone")]
public sealed class SelectionAllocationTests
{
    [Fact]
    public void TheSecondRunOfAShapeAllocatesNothing()
    {
        using CpuDevice device = AttentionDevice.Cpu(2);
        PipelineConfig config = StageTests.Base with { Element = ElementType.Float32 };
        var inputs = new PipelineCase(config);
        using IAttentionPipeline pipeline = StagePipeline.Create(config, device);
        var output = new float[inputs.Query.Length];
        var selection = new TokenSelection { WantsScores = true };
        Call();
        Call();
        // The test host's own threads may allocate meanwhile, rarely; a run that allocates does so every time.
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 5 && least != 0; attempt++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            Call();
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        Assert.Equal(0, least);

        void Call() => pipeline.Run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld<float>(inputs.Query, 2, 4, 500, 64),
            Key = AttentionTensor.FromBhld<float>(inputs.Key, 2, 2, 500, 64),
            Value = AttentionTensor.FromBhld<float>(inputs.Value, 2, 2, 500, 64),
            Output = AttentionTensor.FromBhld(output.AsSpan(), 2, 4, 500, 64),
            Selection = selection,
        });
    }
}
