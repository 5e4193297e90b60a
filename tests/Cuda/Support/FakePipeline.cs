using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Tests;

/// <summary>A stage with workspace, as a pipeline would name it.</summary>
internal sealed class FakeStageAttribute : StageAttribute
{
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        workspace.Add("row_partials", (long)shape.Batch * shape.KeyLength, sizeof(float));
        workspace.Add("counts", shape.Batch, sizeof(int));
    }
}

/// <summary>
/// What the generator emits, by hand: two kernels, one of them with workspace, a parameter and the token selection. On the
/// fake driver, "attention" copies scale * query, and the selection keeps the even positions.
/// </summary>
internal sealed unsafe class FakePipeline : ICudaAttentionPipeline, ICudaPipeline
{
    public const string Select = "fake_select";
    public const string Attend = "fake_attend";

    public static readonly CudaProgram Selecting = new()
    {
        Name = "fake",
        Source = new KernelSource("fake", "// no text: the fake driver runs C#", []),
        Mask = AttentionMask.Causal,
        SelectsTokens = true,
    };

    private readonly FakeStageAttribute _first = new();
    private readonly FakeStageAttribute _second = new();
    private readonly CudaPipelineRunner _runner;

    public FakePipeline(CudaDevice device, CudaProgram program, KernelCache cache, bool synchronize = false)
    {
        _runner = new CudaPipelineRunner(device, program, cache, synchronize);
        PipelinePlan = new PipelinePlan
        {
            Name = program.Name,
            Type = nameof(FakePipeline),
            Mask = program.Mask,
            HeadDim = program.HeadDim,
            Element = program.Element,
            Stages = [],
            Kernels = [],
            Buffers = [],
        };
    }

    public AttentionDevice Device => _runner.Device;

    public PipelinePlan PipelinePlan { get; }

    public CudaPipelineRunner Runner => _runner;

    /// <summary>A parameter, passed by value.</summary>
    public float Coverage { get; set; } = 0.005f;

    /// <summary>What a test does in the middle of a launch.</summary>
    public Action<CudaLaunch>? Inside { get; set; }

    public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged => _runner.Run(this, in arguments);

    public void Run<T, TOut>(in CudaAttentionArguments<T, TOut> arguments, CudaStream? stream = null)
        where T : unmanaged
        where TOut : unmanaged => _runner.Run(this, in arguments, stream);

    public void Warmup(
        IReadOnlyList<KernelVariant> variants, IProgress<WarmupProgress>? progress = null, CancellationToken cancellation = default) =>
        _runner.Warmup(variants, progress, cancellation);

    void ICudaPipeline.DescribeWorkspace(in ProblemShape shape, CudaWorkspace workspace)
    {
        workspace.Add(_first, in shape);
        workspace.Add(_second, in shape);
    }

    void ICudaPipeline.Launch(CudaLaunch launch)
    {
        Inside?.Invoke(launch);

        launch.Begin(Select, PhaseScope.QueryHead);
        launch.Pass(launch.Problem);
        launch.Pass(launch.Buffer(_first, "row_partials"));
        launch.Pass(launch.Buffer(_second, "counts"));
        launch.Pass(Coverage);
        launch.Pass(launch.TokenIndex);
        launch.Run();

        launch.Begin(Attend, PhaseScope.QueryHeadQueryTile);
        launch.Pass(launch.Problem);
        launch.Pass(launch.TokenIndex);
        launch.Run();
    }

    public void Dispose() => _runner.Dispose();

    /// <summary>The two kernels, for the fake driver.</summary>
    public static (FakeKernel Select, FakeKernel Attend) Install<T, TOut>(FakeDriver driver, Func<T, float> read, Func<float, TOut> write)
        where T : unmanaged
        where TOut : unmanaged
    {
        var select = new FakeKernel
        {
            Shape = new(256, 0, 0),
            Parameters = [(0, 208), (208, 8), (216, 8), (224, 4), (232, 32)],
            Body = packed => KeepEven(
                MemoryMarshal.Read<DeviceProblem>(packed), MemoryMarshal.Read<nint>(packed.AsSpan(208)),
                MemoryMarshal.Read<nint>(packed.AsSpan(216)), MemoryMarshal.Read<DeviceTokenIndex>(packed.AsSpan(232))),
        };
        var attend = new FakeKernel
        {
            Shape = new(384, 64, 100_000),
            Parameters = [(0, 208), (208, 32)],
            Body = packed => ScaleQueries(MemoryMarshal.Read<DeviceProblem>(packed), read, write),
        };
        driver.Kernels[Select] = select;
        driver.Kernels[Attend] = attend;
        return (select, attend);
    }

    private static void KeepEven(DeviceProblem problem, nint partials, nint counts, DeviceTokenIndex tokens)
    {
        new Span<float>((void*)partials, problem.Batch * problem.KeyLength).Fill(1);
        new Span<int>((void*)counts, problem.Batch).Fill(2);
        for (int row = 0; row < problem.Batch * problem.QueryHeads; row++)
        {
            int kept = 0;
            for (int position = row % 2; position < problem.KeyLength; position += 2)
                ((int*)tokens.Positions)[row * tokens.Capacity + kept++] = position;
            ((int*)tokens.KeyCount)[row] = kept;
            ((int*)tokens.QueryBegin)[row] = 0;
        }
    }

    private static void ScaleQueries<T, TOut>(DeviceProblem p, Func<T, float> read, Func<float, TOut> write)
        where T : unmanaged
        where TOut : unmanaged
    {
        for (int b = 0; b < p.Batch; b++)
        {
            int valid = p.QueryLengths == 0 ? p.QueryLength : ((int*)p.QueryLengths)[b];
            for (int h = 0; h < p.QueryHeads; h++)
            {
                for (int row = 0; row < p.QueryLength; row++)
                {
                    var from = (T*)p.Query + At(p.QueryStrides, b, h, row);
                    var to = (TOut*)p.Output + At(p.OutputStrides, b, h, row);
                    for (int d = 0; d < p.HeadDim; d++)
                        to[d] = write(row < valid ? p.Scale * read(from[d]) : 0);
                    if (p.LogSumExp != 0)
                        ((float*)p.LogSumExp)[At(p.LogSumExpStrides, b, h, row)] = 1000 * b + 100 * h + row;
                }
            }
        }
    }

    private static long At(DeviceStrides strides, int batch, int head, int row) =>
        batch * strides.Batch + head * strides.Head + row * strides.Row;
}
