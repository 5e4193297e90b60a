using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using AttnCompose.Cpu;

namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class HostMemoryTests : IDisposable
{
    private const int Batch = 2, Heads = 4, KvHeads = 2, Queries = 9, Keys = 9, Dim = 16;

    private readonly FakeDriver _driver = new();
    private readonly CudaDevice _device;
    private readonly FakePipeline _pipeline;

    public HostMemoryTests()
    {
        _device = new CudaDevice(_driver, 0);
        FakePipeline.Install<BFloat16, float>(_driver, x => (float)x, x => x);
        _pipeline = Make(FakePipeline.Selecting);
    }

    public void Dispose()
    {
        _pipeline.Dispose();
        _device.Dispose();
        Assert.Empty(_driver.Allocations);
    }

    private FakePipeline Make(CudaProgram program) => new(_device, program, new KernelCache(
        new CudaSettings { UseCache = false },
        p => new CompiledKernel(p.Source.Name, p.Options.Architecture, "12.4", new byte[] { 1 }, ""), () => "fake"));

    private static BFloat16[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(i => (BFloat16)(i % 251))];

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Every_layout_goes_up_and_comes_down(bool queryBlhd, bool outputBlhd)
    {
        BFloat16[] query = Numbers(Batch * Heads * Queries * Dim);
        BFloat16[] keys = Numbers(Batch * KvHeads * Keys * Dim);
        var output = new float[query.Length];
        ReadOnlyTensorSpan<BFloat16> q = queryBlhd
            ? AttentionTensor.FromBlhd<BFloat16>(query, Batch, Queries, Heads, Dim)
            : AttentionTensor.FromBhld<BFloat16>(query, Batch, Heads, Queries, Dim);
        TensorSpan<float> o = outputBlhd
            ? AttentionTensor.FromBlhd<float>(output.AsSpan(), Batch, Queries, Heads, Dim)
            : AttentionTensor.FromBhld<float>(output.AsSpan(), Batch, Heads, Queries, Dim);
        ReadOnlyTensorSpan<BFloat16> k = AttentionTensor.FromBhld<BFloat16>(keys, Batch, KvHeads, Keys, Dim);
        ((IAttentionPipeline)_pipeline).Run(new AttentionArguments<BFloat16, float> { Query = q, Key = k, Value = k, Output = o, Scale = 2 });
        for (int b = 0; b < Batch; b++)
        {
            for (int h = 0; h < Heads; h++)
            {
                for (int l = 0; l < Queries; l++)
                {
                    for (int d = 0; d < Dim; d++)
                        Assert.Equal(2 * (float)q[b, h, l, d], o[b, h, l, d]);
                }
            }
        }
    }

    [Fact]
    public void Gaps_between_the_rows_of_an_output_are_left_alone()
    {
        BFloat16[] query = Numbers(Queries * Dim);
        float[] output = [.. Enumerable.Repeat(-7f, Queries * 3 * Dim)];
        TensorSpan<float> o = AttentionTensor.FromStrides<float>(output.AsSpan(), 1, 1, Queries, Dim, 0, 0, 3 * Dim);
        ReadOnlyTensorSpan<BFloat16> q = AttentionTensor.FromBhld<BFloat16>(query, 1, 1, Queries, Dim);
        ((IAttentionPipeline)_pipeline).Run(new AttentionArguments<BFloat16, float> { Query = q, Key = q, Value = q, Output = o, Scale = 1 });
        for (int i = 0; i < output.Length - 2 * Dim; i++)
            Assert.Equal(i % (3 * Dim) < Dim ? (float)query[i / (3 * Dim) * Dim + i % Dim] : -7f, output[i]);
    }

    [Fact]
    public void Lengths_log_sum_exp_and_selection_travel_too()
    {
        BFloat16[] query = Numbers(Batch * Heads * Queries * Dim);
        BFloat16[] keys = Numbers(Batch * KvHeads * Keys * Dim);
        var output = new float[query.Length];
        var lse = new float[Batch * Heads * Queries];
        var selection = new TokenSelection();
        TensorSpan<float> o = AttentionTensor.FromBhld<float>(output.AsSpan(), Batch, Heads, Queries, Dim);
        for (int round = 0; round < 2; round++)
        {
            ((IAttentionPipeline)_pipeline).Run(new AttentionArguments<BFloat16, float>
            {
                Query = AttentionTensor.FromBhld<BFloat16>(query, Batch, Heads, Queries, Dim),
                Key = AttentionTensor.FromBhld<BFloat16>(keys, Batch, KvHeads, Keys, Dim),
                Value = AttentionTensor.FromBhld<BFloat16>(keys, Batch, KvHeads, Keys, Dim),
                Output = o,
                LogSumExp = AttentionTensor.LogSumExp(lse, Batch, Heads, Queries),
                KeyLengths = [9, 5],
                QueryLengths = [9, 5],
                Selection = selection,
            });
        }
        Assert.Equal(0, o[1, 2, 5, 0]); // beyond the query length
        Assert.NotEqual(0, o[1, 2, 4, 1]);
        Assert.Equal(1000 + 300 + 7, lse[(1 * Heads + 3) * Queries + 7]);
        Assert.Equal([0, 2, 4, 6, 8], selection.Positions(1, 2).ToArray());
        Assert.Equal([1, 3, 5, 7], selection.Positions(0, 3).ToArray());
    }

    [Fact]
    public void A_wrong_call_reads_as_it_does_on_the_cpu()
    {
        BFloat16[] data = Numbers(Queries * Dim);
        ArgumentException Fails(Action call) => Assert.ThrowsAny<ArgumentException>(call);
        ArgumentException e = Fails(() => _pipeline.Run(
            AttentionTensor.FromBhld<BFloat16>(data, 1, 1, Queries, Dim), AttentionTensor.FromBhld<BFloat16>(data, 1, 1, Queries - 1, Dim),
            AttentionTensor.FromBhld<BFloat16>(data, 1, 1, Queries - 1, Dim), AttentionTensor.FromBhld<BFloat16>(new BFloat16[data.Length].AsSpan(), 1, 1, Queries, Dim)));
        Assert.Equal("query", e.ParamName); // more queries than keys
        e = Fails(() => _pipeline.Run(
            AttentionTensor.FromBhld<BFloat16>(data, 1, 1, Queries, Dim), AttentionTensor.FromBhld<BFloat16>(data, 1, 1, Queries, Dim),
            AttentionTensor.FromBhld<BFloat16>(data, 1, 1, Queries - 1, Dim), AttentionTensor.FromBhld<BFloat16>(new BFloat16[data.Length].AsSpan(), 1, 1, Queries, Dim)));
        Assert.Equal("value", e.ParamName);
        float[] floats = new float[Queries * Dim];
        Assert.Throws<NotSupportedException>(() => _pipeline.Run(
            AttentionTensor.FromBhld<float>(floats, 1, 1, Queries, Dim), AttentionTensor.FromBhld<float>(floats, 1, 1, Queries, Dim),
            AttentionTensor.FromBhld<float>(floats, 1, 1, Queries, Dim), AttentionTensor.FromBhld<float>(new float[floats.Length].AsSpan(), 1, 1, Queries, Dim)));
        Assert.Empty(_driver.Modules);
    }

    [Fact]
    public void An_empty_call_does_nothing()
    {
        ReadOnlyTensorSpan<BFloat16> none = AttentionTensor.FromStrides(new BFloat16[Dim].AsSpan(), 1, 1, 0, Dim, Dim, Dim, Dim);
        TensorSpan<float> output = AttentionTensor.FromStrides(new float[Dim].AsSpan(), 1, 1, 0, Dim, Dim, Dim, Dim);
        ((IAttentionPipeline)_pipeline).Run(new AttentionArguments<BFloat16, float> { Query = none, Key = none, Value = none, Output = output });
        Assert.Empty(_driver.Allocations);
    }

    [Fact]
    public void Scores_come_down_when_they_are_wanted()
    {
        _driver.Kernels["score"] = new FakeKernel { Shape = new(32, 0, 0), Body = WriteScores };
        using var runner = new CudaPipelineRunner(
            _device, FakePipeline.Selecting,
            new KernelCache(new CudaSettings { UseCache = false }, p => new CompiledKernel("k", "sm_90a", "12.4", new byte[] { 1 }, ""), () => "fake"),
            synchronize: false);
        BFloat16[] data = Numbers(Batch * KvHeads * Keys * Dim);
        var output = new float[data.Length];
        foreach (bool wanted in new[] { true, false })
        {
            var selection = new TokenSelection { WantsScores = wanted };
            runner.Run(new ScoringPipeline(), new AttentionArguments<BFloat16, float>
            {
                Query = AttentionTensor.FromBhld<BFloat16>(data, Batch, KvHeads, Keys, Dim),
                Key = AttentionTensor.FromBhld<BFloat16>(data, Batch, KvHeads, Keys, Dim),
                Value = AttentionTensor.FromBhld<BFloat16>(data, Batch, KvHeads, Keys, Dim),
                Output = AttentionTensor.FromBhld<float>(output.AsSpan(), Batch, KvHeads, Keys, Dim),
                KeyLengths = [9, 6],
                Selection = selection,
            });
            Assert.Equal(wanted ? 7 : 0, selection.ScoreLength);
            if (!wanted)
                continue;
            Assert.Equal([10, 11, 12, 13, 14, 15, 16], selection.Scores(0, 1).ToArray());
            Assert.Equal([110, 111, 112, 113, 0, 0, 0], selection.Scores(1, 1).ToArray()); // 4 of 6 keys are scored
        }

        static void WriteScores(byte[] packed)
        {
            var problem = MemoryMarshal.Read<DeviceProblem>(packed);
            var tokens = MemoryMarshal.Read<DeviceTokenIndex>(packed.AsSpan(216));
            unsafe
            {
                var scores = (float*)MemoryMarshal.Read<nint>(packed.AsSpan(208));
                for (int row = 0; row < problem.Batch * problem.QueryHeads; row++)
                {
                    for (int t = 0; t < problem.KeyLength; t++)
                        scores[row * problem.KeyLength + t] = 100 * (row / problem.QueryHeads) + 10 * (row % problem.QueryHeads) + t;
                    ((int*)tokens.KeyCount)[row] = 0;
                    ((int*)tokens.QueryBegin)[row] = 0;
                }
            }
        }
    }

    [Theory]
    [InlineData(new[] { 2, 3, 4, 8 }, new[] { 96, 32, 8, 1 }, 1)]
    [InlineData(new[] { 2, 3, 4, 8 }, new[] { 96, 8, 24, 1 }, 24)]
    [InlineData(new[] { 2, 3, 4, 8 }, new[] { 200, 32, 8, 1 }, 2)]
    [InlineData(new[] { 1, 3, 1, 8 }, new[] { 0, 8, 0, 1 }, 1)]
    [InlineData(new[] { 1, 1, 4, 1 }, new[] { 0, 0, 5, 0 }, 4)]
    [InlineData(new[] { 2, 0, 4, 8 }, new[] { 0, 0, 8, 1 }, 0)]
    public void A_strided_tensor_is_walked_in_its_largest_pieces(int[] lengths, int[] strides, int pieces)
    {
        nint[] wideLengths = [.. lengths.Select(x => (nint)x)];
        nint[] wideStrides = [.. strides.Select(x => (nint)x)];
        var walked = new List<long>();
        int count = 0;
        foreach (var (offset, bytes) in new RowWalk(wideLengths, wideStrides, elementBytes: 2))
        {
            count++;
            for (int i = 0; i < bytes / 2; i++)
                walked.Add(offset / 2 + i);
        }
        var expected = new List<long>();
        for (int a = 0; a < lengths[0]; a++)
        {
            for (int b = 0; b < lengths[1]; b++)
            {
                for (int c = 0; c < lengths[2]; c++)
                {
                    for (int d = 0; d < lengths[3]; d++)
                        expected.Add(a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3]);
                }
            }
        }
        Assert.Equal(expected, walked);
        Assert.Equal(pieces, count);
    }

    /// <summary>A selector that scores all but the last two keys.</summary>
    private sealed class ScoringAttribute : TokenSelectorAttribute
    {
        public override int ScoreLength(in ProblemShape shape) => Math.Max(0, shape.KeyLength - 2);

        public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace) =>
            workspace.Add("scores", (long)shape.Batch * shape.QueryHeads * shape.KeyLength, sizeof(float));

        public override void Select<T, TScore>(in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection) =>
            throw new NotSupportedException("Only the device side is under test.");
    }

    private sealed class ScoringPipeline : ICudaPipeline
    {
        private readonly ScoringAttribute _selector = new();

        public void DescribeWorkspace(in ProblemShape shape, CudaWorkspace workspace) => workspace.Add(_selector, in shape);

        public void Launch(CudaLaunch launch) =>
            launch.Begin("score", PhaseScope.QueryHead).Pass(launch.Problem).Pass(launch.Buffer(_selector, "scores")).Pass(launch.TokenIndex).Run();
    }
}
