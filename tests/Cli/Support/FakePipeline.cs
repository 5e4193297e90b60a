namespace AttnCompose.Cli.Tests;

/// <summary>A pipeline whose output is 1 everywhere and that fails on demand: for tests of the command line itself.</summary>
internal sealed class FakePipeline(AttentionDevice device, PipelinePlan plan, Exception? failure) : IAttentionPipeline
{
    public AttentionDevice Device => device;

    public PipelinePlan PipelinePlan => plan;

    public static PipelineDescriptor Describe(string name, Exception? failure = null)
    {
        var plan = new PipelinePlan
        {
            Name = name,
            Type = "Tests.Fake",
            Mask = AttentionMask.Full,
            HeadDim = 0,
            Element = ElementType.Any,
            Stages =
            [
                new StagePlan(StageKind.AttentionKernel, "Fake", "kernel 1",
                [
                    new ParameterPlan("Strength", "double", IsConstant: false, 0.5, 0, 1),
                    new ParameterPlan("Tile", "int", IsConstant: true, 64, 1, 128),
                ]),
            ],
            Kernels = [new KernelPlan("fake_attend", "tile of queries of one query head", ["attend"], "")],
            Buffers = [],
        };
        return new PipelineDescriptor(plan, (device, _) => new FakePipeline(device, plan, failure))
        {
            CudaSource = "extern \"C\" __global__ void fake_attend() {}\n",
        };
    }

    public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments) where T : unmanaged where TOut : unmanaged
    {
        arguments.Output.Fill((TOut)(object)1f);
        if (failure is not null)
            throw failure;
    }

    public void Dispose()
    {
    }
}
