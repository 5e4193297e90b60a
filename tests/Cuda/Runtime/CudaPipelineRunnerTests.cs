using System.Runtime.InteropServices;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class CudaPipelineRunnerTests : IDisposable
{
    private readonly FakeDriver _driver = new();
    private readonly CudaDevice _device;
    private readonly KernelCache _cache;
    private readonly FakePipeline _pipeline;
    private readonly FakeKernel _select;
    private readonly FakeKernel _attend;
    private readonly List<IDisposable> _owned = [];
    private readonly List<CompileOptions> _compiled = [];

    public CudaPipelineRunnerTests()
    {
        _device = new CudaDevice(_driver, 0);
        _cache = new KernelCache(
            new CudaSettings { UseCache = false },
            p =>
            {
                _compiled.Add(p.Options);
                return new CompiledKernel(p.Source.Name, p.Options.Architecture, "12.4", new byte[] { 1, 2, 3 }, p.Options.ToString());
            },
            () => "fake");
        (_select, _attend) = FakePipeline.Install<Half, Half>(_driver, x => (float)x, x => (Half)x);
        _pipeline = Make();
    }

    public void Dispose()
    {
        foreach (IDisposable each in _owned)
            each.Dispose();
        _device.Dispose();
        Assert.Empty(_driver.Allocations);
        Assert.Equal(0, _driver.Retained);
    }

    private FakePipeline Make(CudaProgram? program = null, bool synchronize = false)
    {
        var pipeline = new FakePipeline(_device, program ?? FakePipeline.Selecting, _cache, synchronize);
        _owned.Add(pipeline);
        return pipeline;
    }

    private CudaTensor<T> Tensor<T>(params ReadOnlySpan<nint> lengths) where T : unmanaged
    {
        CudaTensor<T> tensor = CudaTensor.Allocate<T>(_device, lengths);
        _owned.Add(tensor);
        return tensor;
    }

    private CudaAttentionArguments<Half, Half> Arguments(int batch = 2, int heads = 4, int kvHeads = 2, int queries = 70, int keys = 130, int dim = 64) => new()
    {
        Query = Tensor<Half>(batch, heads, queries, dim),
        Key = Tensor<Half>(batch, kvHeads, keys, dim),
        Value = Tensor<Half>(batch, kvHeads, keys, dim),
        Output = Tensor<Half>(batch, heads, queries, dim),
    };

    private static DeviceProblem ProblemOf(FakeKernel kernel) => MemoryMarshal.Read<DeviceProblem>(kernel.Launches[^1].Arguments);

    private static DeviceTokenIndex TokensOf(FakeKernel kernel) =>
        MemoryMarshal.Read<DeviceTokenIndex>(kernel.Launches[^1].Arguments.AsSpan(208));

    [Fact]
    public void Kernels_are_launched_in_order_with_grid_block_shared_memory_and_stream()
    {
        using var stream = new CudaStream(_device);
        _pipeline.Run(Arguments(), stream);
        LaunchConfig select = Assert.Single(_select.Launches).Config;
        LaunchConfig attend = Assert.Single(_attend.Launches).Config;
        Assert.Equal((1u, 4u, 2u, 256u, 0u), (select.GridX, select.GridY, select.GridZ, select.BlockX, select.SharedBytes));
        Assert.Equal((2u, 4u, 2u, 384u, 100_000u), (attend.GridX, attend.GridY, attend.GridZ, attend.BlockX, attend.SharedBytes));
        Assert.Equal((stream.Handle, stream.Handle), (select.Stream, attend.Stream));
        Assert.Equal((1u, 1u, 0u), (select.BlockY, select.BlockZ, select.AttributeCount));
        Assert.Contains("SetFunctionAttribute(MaxDynamicSharedBytes, 100000)", _driver.Calls);
        Assert.Equal(56, System.Runtime.CompilerServices.Unsafe.SizeOf<LaunchConfig>());
        Assert.Equal(32, (int)Marshal.OffsetOf<LaunchConfig>(nameof(LaunchConfig.Stream)));
        Assert.Equal(48, (int)Marshal.OffsetOf<LaunchConfig>(nameof(LaunchConfig.AttributeCount)));
    }

    [Fact]
    public void A_team_is_a_cluster_with_room_for_the_keys_that_it_holds()
    {
        _select.Shape = new(256, 0, 1000, Team: 8, HeldKeys: 900, Waits: 1);
        _pipeline.Run(Arguments(keys: 6000));
        LaunchConfig config = Assert.Single(_select.Launches).Config;
        // 750 keys a block, in whole warps.
        Assert.Equal((8u, 4u, 2u, 1000u + 4 * 768, 2u), (config.GridX, config.GridY, config.GridZ, config.SharedBytes, config.AttributeCount));
        Assert.Equal([(4, 8u, 1u, 1u), (6, 1u, 0u, 0u)], _select.Attributes.Select(a => (a.Id, a.X, a.Y, a.Z)));
        Assert.Contains("SetFunctionAttribute(MaxDynamicSharedBytes, 4600)", _driver.Calls);
        Assert.Equal(72, System.Runtime.CompilerServices.Unsafe.SizeOf<LaunchAttribute>());
        Assert.Equal(8, (int)Marshal.OffsetOf<LaunchAttribute>(nameof(LaunchAttribute.X)));
        Assert.Empty(_attend.Attributes);
    }

    [Fact]
    public void The_problem_is_the_call()
    {
        CudaAttentionArguments<Half, Half> arguments = Arguments() with
        {
            LogSumExp = Tensor<float>(2, 4, 70),
            KeyLengths = Tensor<int>(2),
            QueryLengths = CudaTensor.From<int>(_device, 70, 30),
            Scale = 0.25f,
        };
        _owned.Add(arguments.QueryLengths!);
        _pipeline.Run(in arguments);
        DeviceProblem problem = ProblemOf(_attend);
        Assert.Equal(arguments.Query.Pointer, problem.Query);
        Assert.Equal(arguments.Key.Pointer, problem.Key);
        Assert.Equal(arguments.Value.Pointer, problem.Value);
        Assert.Equal(arguments.Output.Pointer, problem.Output);
        Assert.Equal(arguments.LogSumExp!.Pointer, problem.LogSumExp);
        Assert.Equal(arguments.KeyLengths!.Pointer, problem.KeyLengths);
        Assert.Equal(arguments.QueryLengths!.Pointer, problem.QueryLengths);
        Assert.Equal(new DeviceStrides(4 * 70 * 64, 70 * 64, 64), problem.QueryStrides);
        Assert.Equal(new DeviceStrides(2 * 130 * 64, 130 * 64, 64), problem.KeyStrides);
        Assert.Equal(problem.KeyStrides, problem.ValueStrides);
        Assert.Equal(problem.QueryStrides, problem.OutputStrides);
        Assert.Equal(new DeviceStrides(4 * 70, 70, 1), problem.LogSumExpStrides);
        Assert.Equal((2, 4, 2, 70, 130, 64), (problem.Batch, problem.QueryHeads, problem.KeyValueHeads, problem.QueryLength, problem.KeyLength, problem.HeadDim));
        Assert.Equal((0.25f, 0, 0), (problem.Scale, problem.Layer, problem.Layers));
    }

    [Fact]
    public void What_is_left_out_is_zero_and_scale_is_the_usual_one()
    {
        _pipeline.Run(Arguments());
        DeviceProblem problem = ProblemOf(_attend);
        Assert.Equal((0, 0, 0), (problem.LogSumExp, problem.KeyLengths, problem.QueryLengths));
        Assert.Equal(new DeviceStrides(0, 0, 0), problem.LogSumExpStrides);
        Assert.Equal(0.125f, problem.Scale);
    }

    [Fact]
    public void Workspace_buffers_and_the_selection_share_one_block_without_overlap()
    {
        _pipeline.Run(Arguments());
        byte[] packed = _select.Launches[^1].Arguments;
        nint partials = MemoryMarshal.Read<nint>(packed.AsSpan(208));
        nint counts = MemoryMarshal.Read<nint>(packed.AsSpan(216));
        DeviceTokenIndex tokens = TokensOf(_attend);
        long Round(long bytes) => (bytes + 255) / 256 * 256;
        long stage = Round(2 * 130 * 4) + Round(2 * 4);
        Assert.Equal(partials + stage + Round(2 * 130 * 4), counts); // the second stage's buffer of its own
        Assert.Equal(partials + 2 * stage, tokens.Positions);
        Assert.Equal(tokens.Positions + Round(2 * 4 * 130 * 4), tokens.KeyCount);
        Assert.Equal(tokens.KeyCount + 256, tokens.QueryBegin);
        Assert.Equal(130, tokens.Capacity);
        Assert.Equal(0, partials % 256);
        long total = 2 * stage + Round(2 * 4 * 130 * 4) + 512;
        Assert.Equal(total, _pipeline.Runner.WorkspaceBytes);
        Assert.Equal(total, _pipeline.Runner.WorkspaceBytesFor<Half, Half>(_pipeline, new ProblemShape(2, 4, 2, 70, 130, 64)));
        Assert.Equal(0.005f, MemoryMarshal.Read<float>(packed.AsSpan(224)));
    }

    [Fact]
    public void Workspace_grows_and_never_shrinks_and_each_stream_has_its_own()
    {
        using var first = new CudaStream(_device);
        using var second = new CudaStream(_device);
        _pipeline.Run(Arguments(keys: 200), first);
        long bytes = _pipeline.Runner.WorkspaceBytes;
        nint block = TokensOf(_attend).Positions;
        _pipeline.Run(Arguments(keys: 100), first);
        Assert.Equal(bytes, _pipeline.Runner.WorkspaceBytes);
        _pipeline.Run(Arguments(keys: 200), second);
        Assert.Equal(2 * bytes, _pipeline.Runner.WorkspaceBytes);
        Assert.NotEqual(block, TokensOf(_attend).Positions);
        _driver.Calls.Clear();
        _pipeline.Run(Arguments(keys: 400), first);
        Assert.True(_driver.Calls.LastIndexOf("StreamSynchronize") < _driver.Calls.LastIndexOf("MemoryFree"));
        Assert.True(_pipeline.Runner.WorkspaceBytes > 2 * bytes);
    }

    [Fact]
    public void The_block_of_a_disposed_stream_is_given_back()
    {
        using (var first = new CudaStream(_device))
            _pipeline.Run(Arguments(), first);
        long bytes = _pipeline.Runner.WorkspaceBytes;
        using var second = new CudaStream(_device);
        _pipeline.Run(Arguments(), second);
        Assert.Equal(bytes, _pipeline.Runner.WorkspaceBytes);
        for (int i = 0; i < 3; i++)
            _pipeline.Run(Arguments(), CudaStream.FromHandle(_device, 55)); // one stream, however often it is wrapped
        Assert.Equal(2 * bytes, _pipeline.Runner.WorkspaceBytes);
    }

    [Fact]
    public void A_graph_is_captured_after_a_first_run_and_not_before()
    {
        CudaAttentionArguments<Half, Half> arguments = Arguments();
        using var stream = new CudaStream(_device);
        var e = Assert.Throws<InvalidOperationException>(() => CudaGraph.Capture(stream, () => _pipeline.Run(in arguments, stream)));
        Assert.Contains("Run the pipeline once", e.Message, StringComparison.Ordinal);
        _pipeline.Run(in arguments, stream);
        using CudaGraph graph = CudaGraph.Capture(stream, () => _pipeline.Run(in arguments, stream));
        Assert.Single(_attend.Launches);
        graph.Launch(stream);
        Assert.Equal(2, _attend.Launches.Count);
    }

    [Fact]
    public void From_the_second_run_of_a_shape_on_nothing_is_allocated()
    {
        CudaAttentionArguments<Half, Half> arguments = Arguments() with { LogSumExp = Tensor<float>(2, 4, 70) };
        CudaStream stream = _device.DefaultStream;
        _driver.Records = false;
        for (int i = 0; i < 200; i++) // until the runtime has settled on code that does not allocate for itself
            _pipeline.Run(in arguments, stream);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
            _pipeline.Run(in arguments, stream);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Kernels_are_compiled_once_a_head_dim_element_and_output_and_shared_by_instances()
    {
        _pipeline.Run(Arguments());
        _pipeline.Run(Arguments());
        FakePipeline second = Make();
        second.Run(Arguments());
        Assert.Single(_driver.Modules);
        Assert.Equal(1, _cache.Compilations);
        second.Run(Arguments(dim: 128));
        Assert.Equal(2, _cache.Compilations);
        CudaKernels kernels = _pipeline.Runner.Prepare<BFloat16, float>(64);
        Assert.Equal(3, _cache.Compilations);
        Assert.Equal(
            "--gpu-architecture=sm_90a --std=c++20 -DATTNCOMPOSE_HEAD_DIM=64 -DATTNCOMPOSE_ELEMENT=attn::bf16 -DATTNCOMPOSE_OUTPUT=float",
            kernels.Modules.Single().Compiled.Log);
        Assert.Equal(2, _driver.Calls.Count(c => c.StartsWith("SetFunctionAttribute", StringComparison.Ordinal))); // entries resolve once a module
    }

    private static readonly CudaProgram s_choosing = FakePipeline.Selecting with { HasTileChoice = true };
    private static readonly TuningClass s_longCalls = new(64, ElementType.Float16, AttentionMask.Causal, IsLong: true);

    /// <summary>The shapes that calls of some lengths have compiled, in that order.</summary>
    private AttentionTile?[] Compiled(CudaProgram program, int dim, params int[] queries)
    {
        _compiled.Clear();
        FakePipeline pipeline = Make(program);
        foreach (int length in queries)
            pipeline.Run(Arguments(1, 2, 2, length, length, dim));
        return [.. _compiled.Select(options => options.AttentionTile)];
    }

    [Fact]
    public void A_call_runs_in_the_tiles_that_are_stored_for_its_mask_and_length()
    {
        _device.StoredTunings =
        [
            (s_longCalls, new() { AttentionTile = new(128, 176, 2) }),
            (s_longCalls with { Mask = AttentionMask.Full }, new() { AttentionTile = new(128, 128, 2) }),
        ];
        int from = TuningClass.LongFrom;
        Assert.Equal([null, new(128, 176, 2)], Compiled(s_choosing, 64, from - 1, from, 70, from + 1));
        // Short calls have what the other mask's had.
        Assert.Equal([new(128, 128, 2)], Compiled(s_choosing with { Mask = AttentionMask.Full }, 64, 70, from));
    }

    [Fact]
    public void A_shape_is_compiled_only_where_it_changes_something()
    {
        _device.Tuning = new() { AttentionTile = new(128, 160, 2), GatherLength = 100 };
        Assert.Equal([null], Compiled(FakePipeline.Selecting, 128, 70)); // rules or a block list
        Assert.Equal([null], Compiled(s_choosing, 64, 70)); // head dim 64 has no such shape
        // Below the gather length the loop copies rows itself, in tiles of its own, which were compiled above.
        Assert.Equal([new(128, 160, 2)], Compiled(s_choosing with { GatheredEntry = FakePipeline.Attend }, 128, 70, 100, 99, 130));
    }

    [Fact]
    public void Preparing_compiles_the_tiles_of_calls_of_every_length()
    {
        _device.StoredTunings = [(s_longCalls, new() { AttentionTile = new(128, 176, 2) })];
        CudaModule ofLong = Make(s_choosing).Runner.Prepare<Half, Half>(64);
        Assert.Equal([null, new(128, 176, 2)], _compiled.Select(options => options.AttentionTile));
        Assert.Contains("-DATTNCOMPOSE_ATTENTION_TILE=128,176,2", ofLong.Compiled.Log, StringComparison.Ordinal);
        Assert.Empty(Compiled(s_choosing, 64, 70, TuningClass.LongFrom));
    }

    [Fact]
    public void The_callers_selection_receives_the_tokens()
    {
        using var selection = new CudaTokenSelection(_device, batch: 2, queryHeads: 4, keyLength: 130);
        _pipeline.Run(Arguments() with { Selection = selection });
        Assert.Equal(selection.Positions.Pointer, TokensOf(_attend).Positions);
        var host = new TokenSelection();
        selection.CopyTo(host);
        Assert.Equal((2, 4, 130), (host.Batch, host.QueryHeads, host.Capacity));
        Assert.Equal(65, host.KeyCount(1, 3));
        Assert.Equal([1, 3, 5], host.Positions(1, 3)[..3].ToArray());
        Assert.Equal([0, 2, 4], host.Positions(0, 0)[..3].ToArray());
    }

    [Fact]
    public void Counts_that_cannot_be_are_not_believed()
    {
        using var selection = new CudaTokenSelection(_device, 1, 1, 10);
        selection.KeyCounts.CopyFrom([11]);
        selection.QueryBegins.CopyFrom([0]);
        Assert.Throws<InvalidOperationException>(() => selection.CopyTo(new TokenSelection()));
        selection.KeyCounts.CopyFrom([5]);
        selection.QueryBegins.CopyFrom([6]);
        Assert.Throws<InvalidOperationException>(() => selection.CopyTo(new TokenSelection()));
    }

    [Fact]
    public void An_empty_problem_launches_nothing()
    {
        _pipeline.Run(Arguments(batch: 0));
        _pipeline.Run(Arguments(queries: 0));
        _pipeline.Run(Arguments(heads: 0, kvHeads: 0));
        Assert.Empty(_select.Launches);
        Assert.Empty(_driver.Modules);
    }

    [Fact]
    public void A_kernel_that_takes_other_arguments_than_are_passed_is_not_launched()
    {
        _driver.Kernels[FakePipeline.Attend] = new FakeKernel { Shape = new(128, 64, 0), Parameters = [(0, 208), (208, 8)] };
        var e = Assert.Throws<InvalidOperationException>(() => _pipeline.Run(Arguments()));
        Assert.Contains("argument 1 is given as 32 bytes; the kernel takes 8 bytes", e.Message, StringComparison.Ordinal);
        Assert.Contains(FakePipeline.Attend, e.Message, StringComparison.Ordinal);

        using var other = new CudaDevice(_driver, 0);
        _driver.Kernels[FakePipeline.Attend] = new FakeKernel { Parameters = [(0, 208), (208, 32), (240, 4)] };
        using var pipeline = new FakePipeline(other, FakePipeline.Selecting, _cache);
        e = Assert.Throws<InvalidOperationException>(() => pipeline.Run(Arguments()));
        Assert.Contains("argument 2 is given as nothing; the kernel takes 4 bytes", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 64, 0, "threads")]
    [InlineData(2048, 64, 0, "threads")]
    [InlineData(128, 64, 227 * 1024 + 1, "shared memory")]
    [InlineData(128, 64, -1, "shared memory")]
    [InlineData(128, 0, 0, "tile")]
    public void A_launch_shape_that_cannot_be_is_refused_by_name(int threads, int tile, int shared, string what)
    {
        _attend.Shape = new(threads, tile, shared);
        Exception e = Assert.ThrowsAny<Exception>(() => _pipeline.Run(Arguments()));
        Assert.Contains(FakePipeline.Attend, e.Message, StringComparison.Ordinal);
        Assert.Contains(what, e.Message, StringComparison.Ordinal);
        Assert.Empty(_attend.Launches);
    }

    [Fact]
    public void An_entry_that_is_missing_is_named()
    {
        _driver.Kernels.Remove(FakePipeline.Attend);
        var e = Assert.Throws<CudaException>(() => _pipeline.Run(Arguments()));
        Assert.Contains($"no entry point '{FakePipeline.Attend}'", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_launch_that_the_driver_refuses_names_the_kernel()
    {
        _driver.Failures["Launch"] = CudaResult.LaunchOutOfResources;
        var e = Assert.Throws<CudaException>(() => _pipeline.Run(Arguments()));
        Assert.Contains(FakePipeline.Select, e.Message, StringComparison.Ordinal);
        Assert.Equal(CudaResult.LaunchOutOfResources, e.Result);
        _driver.Failures.Clear();
        _pipeline.Run(Arguments()); // the instance is free again
    }

    [Fact]
    public void When_every_launch_is_waited_for_the_error_names_its_kernel()
    {
        FakePipeline pipeline = Make(synchronize: true);
        pipeline.Run(Arguments());
        _driver.Failures["StreamSynchronize"] = CudaResult.InvalidValue;
        var e = Assert.Throws<CudaException>(() => pipeline.Run(Arguments()));
        Assert.Equal(FakePipeline.Select, e.Call);
    }

    [Fact]
    public void A_module_that_does_not_load_says_for_what_it_was_compiled()
    {
        _driver.Failures["ModuleLoad"] = CudaResult.NoBinaryForGpu;
        var e = Assert.Throws<CudaException>(() => _pipeline.Run(Arguments()));
        foreach (string part in new[] { "sm_90a", "NVRTC 12.4", "compute capability 9.0", "CUDA 13.0" })
            Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Calls_do_not_overlap_and_a_launch_ends_with_its_call()
    {
        CudaAttentionArguments<Half, Half> arguments = Arguments();
        CudaLaunch? kept = null;
        _pipeline.Inside = launch =>
        {
            kept = launch;
            Assert.Throws<InvalidOperationException>(() => _pipeline.Run(in arguments));
        };
        _pipeline.Run(in arguments);
        Assert.Throws<InvalidOperationException>(() => kept!.Begin(FakePipeline.Attend, PhaseScope.QueryHead));
        Assert.Throws<InvalidOperationException>(() => kept!.Stream);
        Assert.Throws<InvalidOperationException>(() => kept!.Run());
    }

    [Fact]
    public void A_kernel_that_was_begun_must_be_run()
    {
        _pipeline.Inside = launch => launch.Begin(FakePipeline.Attend, PhaseScope.QueryHead);
        var e = Assert.Throws<InvalidOperationException>(() => _pipeline.Run(Arguments()));
        Assert.Contains("begun and not run", e.Message, StringComparison.Ordinal);
        _pipeline.Inside = launch => Assert.Throws<KeyNotFoundException>(() => launch.Buffer(new FakeStageAttribute(), "counts"));
        _pipeline.Run(Arguments());
    }

    [Fact]
    public void A_disposed_pipeline_or_device_says_so()
    {
        CudaAttentionArguments<Half, Half> arguments = Arguments();
        FakePipeline second = Make();
        second.Run(in arguments);
        second.Dispose();
        Assert.Throws<ObjectDisposedException>(() => second.Run(in arguments));
        _device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => _pipeline.Run(in arguments));
    }
}
