using System.Diagnostics;
using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests.Compilation;

/// <summary>Compiling ahead, in worker processes (this assembly's own program) and without.</summary>
public sealed class WarmupTests
{
    private readonly KernelCache _cache = new(
        new CudaSettings { UseCache = false }, kernel => KernelCompiler.Compile(kernel.Source, kernel.Headers, kernel.Options),
        () => KernelCompiler.Identity);

    private PreparedKernel[] Kernels(int count) =>
        [.. Enumerable.Range(0, count).Select(i => _cache.Prepare(Text(i), Sources.Sm80))];

    private static KernelSource Text(int number) => Sources.Source(
        $"#include <attncompose/stages/AttnCompose.Cuda.Tests/inner.cuh>\nextern \"C\" __global__ void k{number}(int* p) {{ *p = {number}; }}", $"k{number}");

    private static KernelWorkers Workers(int most) => new(Program.Command("attncompose-kernel-worker"), most);

    private int Get(
        PreparedKernel[] kernels, KernelWorkers workers, CancellationToken cancellation = default, CompiledKernel[]? got = null) =>
        KernelBatch.Get(_cache, kernels, workers, (i, kernel, _) => got?[i] = kernel, cancellation);

    private void AssertRight(PreparedKernel[] kernels, KernelWorkers workers, int byWorkers)
    {
        var got = new CompiledKernel[kernels.Length];
        Assert.Equal(byWorkers, Get(kernels, workers, got: got));
        for (int i = 0; i < kernels.Length; i++)
        {
            CompiledKernel here = KernelCompiler.Compile(kernels[i].Source, kernels[i].Options);
            Assert.Equal(here.Cubin.ToArray(), got[i].Cubin.ToArray());
            Assert.Equal((here.Name, here.Architecture, here.Compiler, here.Log), (got[i].Name, got[i].Architecture, got[i].Compiler, got[i].Log));
        }
        Assert.Equal(kernels.Length, _cache.Compilations);
    }

    [NvrtcFact]
    public void Workers_compile_what_this_process_would() => AssertRight(Kernels(5), Workers(2), byWorkers: 5);

    [NvrtcFact]
    public void Without_a_worker_program_this_process_compiles() => AssertRight(Kernels(3), new(Command: null, Most: 2), byWorkers: 0);

    [NvrtcFact]
    public void Only_what_the_cache_lacks_is_compiled()
    {
        PreparedKernel[] kernels = Kernels(4);
        _cache.GetOrCompile(kernels[1], kernel => KernelCompiler.Compile(kernel.Source, kernel.Options));
        var told = new List<(int Number, bool IsNew)>();
        int byWorkers = KernelBatch.Get(_cache, kernels, Workers(3), (i, _, isNew) => told.Add((i, isNew)), default);
        Assert.Equal(3, byWorkers);
        Assert.Equal((1, false), told[0]);
        Assert.Equal([(0, true), (2, true), (3, true)], told[1..].Order());
        Assert.Equal(0, Get(kernels, new(new ProcessStartInfo("/no/such/program"), 3)));
        Assert.Equal(4, _cache.Compilations);
    }

    [NvrtcFact]
    public void A_second_batch_beside_one_that_this_process_compiles_has_a_worker()
    {
        PreparedKernel[] kernels = Kernels(2);
        int second = -1;
        int first = KernelBatch.Get(
            _cache, kernels[..1], Workers(1), (_, _, _) => second = Get(kernels[1..], Workers(1)), default);
        Assert.Equal((0, 1), (first, second));
        Assert.Equal(0, Get(Kernels(1), Workers(1)));
    }

    [NvrtcFact]
    public async Task Batches_beside_each_other_share_the_workers_that_there_may_be()
    {
        KernelWorkers workers = Workers(2);
        KernelWorkerProcess first = workers.Enter(default), second = workers.Enter(default);
        using var cancellation = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        Assert.ThrowsAny<OperationCanceledException>(() => workers.Enter(cancellation.Token));
        PreparedKernel[] kernels = Kernels(3);
        Task<int> waiting = Task.Run(() => Get(kernels, workers));
        Assert.NotNull(first.Compile(kernels[0], default));
        Assert.False(waiting.IsCompleted);
        KernelWorkers.Leave(first);
        Assert.Equal(3, await waiting);
        Assert.Same(first, workers.Enter(default)); // by the one process that there was
        Assert.False(first.IsLost);
        KernelWorkers.Leave(first);
        KernelWorkers.Dismiss(idle: 0);
        Assert.NotSame(first, workers.Enter(default));
        KernelWorkers.Leave(second);
        KernelWorkers.Leave(second);
    }

    [NvrtcFact]
    public void A_worker_refuses_what_does_not_compile_with_the_compilers_log()
    {
        PreparedKernel broken = _cache.Prepare(Sources.Source("nonsense;", "broken"), Sources.Sm80);
        var e = Assert.Throws<KernelCompilationException>(() => Get([broken, .. Kernels(1)], Workers(2)));
        Assert.Equal("broken", e.SourceName);
        Assert.Contains("broken.cu(1): error", e.Log, StringComparison.Ordinal);
        Assert.Contains("--gpu-architecture=sm_80", e.Message, StringComparison.Ordinal);
    }

    [NvrtcTheory]
    [InlineData("no such program")]
    [InlineData("ends at once")]
    [InlineData("says nonsense")]
    public void Where_workers_fail_this_process_compiles(string how)
    {
        ProcessStartInfo command = how switch
        {
            "ends at once" => Program.Command("unknown"),
            "says nonsense" => Program.Command("compile"),
            _ => new ProcessStartInfo("/no/such/program") { RedirectStandardInput = true, RedirectStandardOutput = true },
        };
        command.RedirectStandardError = true;
        AssertRight(Kernels(3), new(command, 2), byWorkers: 0);
    }

    [NvrtcFact]
    public void Cancelling_ends_workers_at_once()
    {
        var silent = new KernelWorkers(Program.Command("say-nothing"), 2);
        using var cancellation = new CancellationTokenSource(TimeSpan.FromMilliseconds(500));
        var clock = Stopwatch.StartNew();
        Assert.ThrowsAny<OperationCanceledException>(() => Get(Kernels(4), silent, cancellation.Token));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), $"{clock.Elapsed}");
        Assert.ThrowsAny<OperationCanceledException>(() => Get(Kernels(4), silent with { Most = 0 }, cancellation.Token));
        Assert.Equal(0, _cache.Compilations);
    }

    [NvrtcFact]
    public void A_worker_serves_requests_until_they_end()
    {
        PreparedKernel[] kernels = Kernels(2);
        using var requests = new MemoryStream();
        using (var writer = new BinaryWriter(requests, System.Text.Encoding.UTF8, leaveOpen: true))
        {
            foreach (PreparedKernel kernel in kernels)
                KernelWorker.WriteRequest(writer, kernel);
        }
        using var replies = new MemoryStream();
        requests.Position = 0;
        KernelWorker.Serve(requests, replies);
        replies.Position = 0;
        using var reader = new BinaryReader(replies);
        Assert.NotNull(KernelWorker.ReadReply(reader, kernels[0]));
        Assert.Null(KernelWorker.ReadReply(reader, kernels[0])); // the second reply is of another kernel
        Assert.Equal(replies.Length, replies.Position);
        Assert.Throws<EndOfStreamException>(() => KernelWorker.ReadReply(reader, kernels[1]));
    }

    [NvrtcFact]
    public void A_warm_pipeline_compiles_nothing_at_its_first_run()
    {
        var driver = new FakeDriver { ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using DenseAttention pipeline = DenseAttention.Create(device);
        var told = new List<WarmupProgress>();
        KernelVariant[] variants = [new(64, ElementType.BFloat16), new(72, ElementType.Float16, ElementType.Float32), new(64, ElementType.BFloat16)];
        pipeline.Warmup(variants, new Progress(told));
        Assert.Equal([(1, 2), (2, 2)], told.Select(progress => (progress.Done, progress.Total)));
        Assert.All(told, progress => Assert.Equal("dense-attention", progress.Pipeline));
        Assert.Equal(variants[..2], told.Select(progress => progress.Variant));
        Assert.Equal(2, driver.Modules.Count);
        told.Clear();
        pipeline.Warmup(variants, new Progress(told));
        Assert.All(told, progress => Assert.False(progress.IsCompiled));
        using CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(device, 1, 2, 10, 72);
        using CudaTensor<float> output = CudaTensor.AllocateBhld<float>(device, 1, 2, 10, 72);
        pipeline.Run(tensor, tensor, tensor, output);
        Assert.Equal(2, driver.Modules.Count);
    }

    [Fact]
    public void A_variant_that_a_pipeline_does_not_take_is_refused_before_anything_is_compiled()
    {
        using var device = new CudaDevice(new FakeDriver(), 0);
        using DenseAttention pipeline = DenseAttention.Create(device);
        void Refused(string said, KernelVariant variant)
        {
            var e = Assert.Throws<NotSupportedException>(() => pipeline.Warmup([variant]));
            Assert.Contains(said, e.Message, StringComparison.Ordinal);
        }
        Refused("Head dim 100", new(100, ElementType.BFloat16));
        Refused("Head dim 264", new(264, ElementType.BFloat16));
        Refused("Float16 or BFloat16", new(64, ElementType.Float32));
        Refused("BFloat16 or Float32", new(64, ElementType.BFloat16, ElementType.Float16));
        using DenseAttention onCpu = DenseAttention.Create(AttentionDevice.Cpu());
        Assert.Throws<InvalidOperationException>(() => onCpu.Warmup([new KernelVariant(64, ElementType.BFloat16)]));
        var program = new CudaProgram { Name = "fixed", Source = Sources.Scale, Mask = AttentionMask.Full, HeadDim = 64, Element = ElementType.Float16 };
        Assert.Throws<NotSupportedException>(() => new KernelVariant(128, ElementType.Float16).Check(program));
        Assert.Throws<NotSupportedException>(() => new KernelVariant(64, ElementType.BFloat16).Check(program));
        new KernelVariant(64, ElementType.Float16).Check(program);
    }

    [Fact]
    public void As_many_workers_as_the_machine_has_room_for_unless_the_settings_say()
    {
        Assert.Equal(5, KernelWorkers.MostOf(new CudaSettings { CompileWorkers = 5 }));
        Assert.Equal(0, KernelWorkers.MostOf(new CudaSettings { CompileWorkers = 0 }));
        Assert.InRange(KernelWorkers.MostOf(new CudaSettings()), 0, Math.Min(8, Environment.ProcessorCount));
    }

    private sealed class Progress(List<WarmupProgress> told) : IProgress<WarmupProgress>
    {
        public void Report(WarmupProgress value) => told.Add(value);
    }
}
