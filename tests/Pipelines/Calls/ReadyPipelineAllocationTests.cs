using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>Allocation of the generated pipelines as a whole. It is counted for the process, so this runs alone.</summary>
[Collection("Alone")]
public sealed class ReadyPipelineAllocationTests
{
    public static TheoryData<string> Names => new(ReadyPipelines.All.Select(pipeline => pipeline.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void The_second_run_of_a_shape_adds_nothing(string name)
    {
        const int Heads = 4, Length = 700, Dim = 64;
        using CpuDevice device = AttentionDevice.Cpu(2);
        float[] data = [.. Enumerable.Range(0, Heads * Length * Dim).Select(i => MathF.Sin(i * 0.37f))];
        var output = new float[data.Length];
        BlockMask? blocks = name == "block-sparse"
            ? BlockMask.FromDense([.. Enumerable.Range(0, 36).Select(i => i % 2 == 0)], 1, 1, Length, Length, 128, 128)
            : null;
        var shape = new ProblemShape(1, Heads, Heads, Length, Length, Dim);
        StageTensors? tensors = new DrawnTensors(ReadyPipelines.Find(name).Plan.Tensors, in shape, seed: 1).Host();
        // An instance has its second run once. Threads of the test host may allocate meanwhile, rarely; hence a few instances.
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 8 && least != 0; attempt++)
        {
            using IAttentionPipeline pipeline = ReadyPipelines.Find(name).Create(
                device,
                name switch
                {
                    "token-sparse-prefill" => [new("MinTokens", "64"), new("Coverage", "0.3")],
                    "token-sparse-fixed" or "token-sparse-accumulated" or "token-sparse-pyramid" => [new("Count", "400")],
                    _ => [],
                });
            Call(pipeline);
            long before = GC.GetTotalAllocatedBytes(precise: true);
            Call(pipeline);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        Assert.Equal(0, least);

        void Call(IAttentionPipeline pipeline) => pipeline.Run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld(data, 1, Heads, Length, Dim), Key = AttentionTensor.FromBhld(data, 1, Heads, Length, Dim),
            Value = AttentionTensor.FromBhld(data, 1, Heads, Length, Dim), Output = AttentionTensor.FromBhld(output, 1, Heads, Length, Dim),
            Blocks = blocks, Layer = new(1, 4), Tensors = tensors,
        });
    }
}
