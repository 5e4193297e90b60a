using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests.FlashAttention;

/// <summary>Allocation is counted for the whole process, so these run alone.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public class Alone;

[Collection(nameof(Alone))]
public class AllocationTests
{
    [Theory]
    [InlineData(false, Rule.None)]
    [InlineData(true, Rule.Alibi)]
    public void The_second_run_of_a_shape_allocates_nothing(bool indexed, Rule rule)
    {
        var c = new AttentionCase
        {
            Seed = 2, Batch = 2, QueryHeads = 4, KeyHeads = 2, Queries = 250, Keys = 300, Dim = 72, Mask = AttentionMask.Causal,
            Indexed = indexed, Rule = rule, Varlen = true, Workers = 3, Bits = FlashAttentionTests.Widths[^1],
        };
        // The test host's own threads may allocate meanwhile, rarely; a run that allocates does so every time.
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 5 && least != 0; attempt++)
        {
            AttentionData<BFloat16, float> data = c.Data<BFloat16, float>();
            using CpuDevice device = AttentionDevice.Cpu(c.Workers);
            using var runner = new CpuPipelineRunner(device, "test", c.Mask, 0, ElementType.Any);
            var pipeline = new TestPipeline(c, data.Selection);
            data.RunAgain(runner, pipeline);
            long before = GC.GetTotalAllocatedBytes(precise: true);
            data.RunAgain(runner, pipeline);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        Assert.Equal(0, least);
    }

    [Fact]
    public void Scratch_grows_with_the_length_and_not_with_its_square()
    {
        long Bytes(int length)
        {
            var c = new AttentionCase { Queries = length, Keys = length, Dim = 8, Bits = FlashAttentionTests.Widths[^1] };
            AttentionData<float, float> data = c.Data<float, float>();
            using CpuDevice device = AttentionDevice.Cpu(1);
            using var runner = new CpuPipelineRunner(device, "test", c.Mask, 0, ElementType.Any);
            data.RunAgain(runner, new TestPipeline(c, data.Selection));
            return runner.ScratchBytes;
        }

        // A key more costs its packed row and value row, whose width is the head dim rounded up to a vector.
        long step = Bytes(3840) - Bytes(1920);
        Assert.InRange(step, 1, 1920 * (8 + 16) * sizeof(float));
    }
}
