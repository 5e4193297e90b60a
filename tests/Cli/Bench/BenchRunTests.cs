using AttnCompose.Cli.Bench;
using AttnCompose.Cuda;
using AttnCompose.Cuda.Tests;
using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Tests.Bench;

/// <summary>Whole runs: on the CPU, on a device that does nothing, and with peers that are a shell script.</summary>
public sealed class BenchRunTests : IDisposable
{
    private static readonly string[] s_small =
        ["--lengths", "256,300", "--heads", "2", "--kv-heads", "1", "--head-dim", "64", "--dtype", "fp32", "--samples", "7"];

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_run_on_the_cpu_prints_its_rows_and_writes_its_files()
    {
        (string json, string csv, string svg) = (_folder.PathOf("o.json"), _folder.PathOf("o.csv"), _folder.PathOf("o.svg"));
        CliResult result = CliResult.Run(
            ["bench", .. s_small, "--pipeline", "dense-attention,token-sparse-prefill,token-sparse-fixed", "--keep", "0.6,0.8",
             "--json", json, "--csv", csv, "--svg", svg]);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("left", result.Error); // progress
        BenchReport report = BenchJson.Read(json);
        Assert.Equal(2 + 2 * 2 * 2, report.Rows.Count);
        Assert.All(report.Rows, row => Assert.True(row is { IsOwn: true, IsMeasured: true, Samples.Count: 7 }));
        Assert.All(report.Rows, row => Assert.True(row.Statistics.Least > 0));
        Assert.All(report.Rows.Where(row => row.Case.Workload == Workloads.TokenSparse), row =>
        {
            double off = (double)row.Case.Kept!.Value / row.Case.Length - row.Case.Keep!.Value;
            Assert.InRange(off, -0.05, 0.05);
        });
        Assert.All(report.Rows.Where(row => row.Implementation == "token-sparse-fixed"), row =>
            Assert.Equal((int)Math.Round(row.Case.Keep!.Value * row.Case.Length), row.Case.Kept));
        Assert.Contains(report.Machine, fact => fact.Key == "device");
        Assert.Equal(report.Rows.Count + 2, File.ReadAllText(csv).Split('\n').Length);
        Assert.StartsWith("<svg", File.ReadAllText(svg));
        Assert.Contains("is faster than dense-attention", result.Output);

        // The same report as the peers of another run.
        string peers = File.ReadAllText(json).Replace("\"own\": true", "\"own\": false");
        File.WriteAllText(_folder.PathOf("peers.json"), peers);
        result = CliResult.Run(["bench", .. s_small, "--pipeline", "dense-attention", "--peers", _folder.PathOf("peers.json")]);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("ours is faster", result.Output);
    }

    [Fact]
    public void Tensors_that_a_stage_takes_are_drawn()
    {
        string json = _folder.PathOf("gates.json");
        CliResult result = CliResult.Run(
            ["bench", .. s_small, "--pipeline", "gate-weights,token-sparse-gate-weights", "--keep", "0.8", "--json", json]);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.DoesNotContain("query_gate", result.Output + result.Error);
        BenchReport report = BenchJson.Read(json);
        Assert.Equal(4, report.Rows.Count);
        Assert.All(report.Rows, row => Assert.True(row.IsMeasured));
        // The share is that of the tokens, not of the blocks.
        Assert.All(report.Rows.Where(row => row.Implementation == "token-sparse-gate-weights"), row =>
            Assert.InRange((double)row.Case.Kept!.Value / row.Case.Length, 0.75, 0.85));
    }

    [Fact]
    public void The_full_mask_has_a_pipeline_of_its_own()
    {
        CliResult result = CliResult.Run(["bench", .. s_small, "--mask", "full"]);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("| dense, full, fp32 | 256 | all | 64 | 2/1 | full-attention |", result.Output);
        Assert.DoesNotContain("dense-attention", result.Output);
    }

    [Theory]
    [InlineData("--lengths", "8Q", "'8Q'")]
    [InlineData("--lengths", "0", "'0'")]
    [InlineData("--lengths", "4096M", "'4096M'")]
    [InlineData("--keep", "0", "'0'")]
    [InlineData("--keep", "0.5;0.7", "(0, 1]")]
    [InlineData("--samples", "6", "at least 7")]
    [InlineData("--heads", "31", "multiple of --kv-heads")]
    [InlineData("--head-dim", "12", "multiple of 8")]
    [InlineData("--dtype", "int8", "'int8'")]
    [InlineData("--mask", "none", "'none'")]
    [InlineData("--graph", "maybe", "'maybe'")]
    [InlineData("--key-deviation", "-1", "at least 0")]
    [InlineData("--rest", "-1", "[0, 10000]")]
    [InlineData("--pipeline", "nosuch", "full")]
    [InlineData("--device", "tpu", "'tpu'")]
    public void What_cannot_be_measured_is_wrong_usage(string option, string value, string said) =>
        Assert.Contains(said is "full" ? "There is no pipeline 'nosuch'" : said,
            CliResult.Run("bench", option, value).FailedWith(CommandLine.WrongUsage));

    [Fact]
    public void Options_that_contradict_each_other_are_wrong_usage()
    {
        string output = _folder.PathOf("o");
        Assert.Contains("causal", Refused("--pipeline", "dense-attention", "--mask", "full"));
        Assert.Contains("token selector", Refused("--pipeline", "dense-attention", "--keep", "0.5"));
        Assert.Contains("same file", Refused("--json", output, "--csv", output));
        Assert.Contains("--keep chooses Coverage",
            Refused([.. s_small, "--pipeline", "token-sparse-prefill", "--keep", "0.5", "--set", "Coverage=0.1"]));
        Assert.Contains("nowhere", CliResult.Run("bench", "--peers", _folder.PathOf("nowhere")).FailedWith(CommandLine.Failure));

        static string Refused(params string[] options) => CliResult.Run(["bench", .. options]) switch
        {
            { Code: CommandLine.WrongUsage } result => result.Error.Split('\n')[^2],
            var result => $"exit code {result.Code}",
        };
    }

    [Fact]
    public void Lengths_have_units() => Assert.Equal([1000, 8192, 1 << 20], BenchRequest.ParseLengths("1000, 8k,1M"));

    [NvrtcFact]
    public void A_device_that_does_nothing_is_timed_and_nothing_is_leaked()
    {
        var driver = new FakeDriver { ReadsCubins = true };
        var request = new BenchRequest
        {
            Pipelines = [DenseAttention.Descriptor, TokenSparsePrefill.Descriptor, FullAttention.Descriptor],
            Lengths = [256],
            Keeps = [0.5],
            Heads = 2, KeyValueHeads = 1, HeadDim = 64, Samples = 7,
            Stages = true, Host = true, Compile = true,
        };
        BenchReport report;
        using (var device = new CudaDevice(driver, 0))
        using (var run = new BenchRun(request, device))
        {
            BenchReport? result = null;
            var context = new CommandContext([], TextWriter.Null, TextWriter.Null);
            BenchProgress.Track(context, run.Problems, progress => result = run.Execute(progress, "bench"));
            report = result!;
        }
        Assert.Empty(driver.Allocations);
        Assert.All(report.Rows, row => Assert.True(row.IsMeasured, $"{row.Implementation} {row.Part}: {row.Error}"));
        Assert.All(
            report.Rows.Where(row => row.HasOperations),
            row => Assert.True(row.Case.Graph && row.Samples.Count == 7));
        Assert.Contains(nameof(FakeDriver.GraphLaunch), driver.Calls);
        IEnumerable<string> kernels = report.Rows
            .Where(row => row is { Implementation: "token-sparse-prefill", Case.Workload: Workloads.Kernel })
            .Select(row => row.Part);
        // So short a sequence is not gathered ahead.
        IEnumerable<string> launched = TokenSparsePrefill.Plan.Kernels.Select(kernel => kernel.Name["token_sparse_prefill_".Length..])
            .Where(kernel => !kernel.Contains("gather", StringComparison.Ordinal));
        Assert.Equal(launched, kernels);
        Assert.Contains(report.Rows, row => row.Case.Workload == Workloads.Select);
        Assert.Single(report.Rows, row => row is { Implementation: "dense-attention", Case.Workload: Workloads.Contiguous });
        foreach (string workload in (string[])[Workloads.HostTime, Workloads.KernelLoading])
        {
            Assert.All(request.Pipelines, pipeline => Assert.Contains(
                report.Rows, row => row.Case.Workload == workload && row.Implementation == pipeline.Name));
        }
        Assert.Contains("not available", report.Ceilings.Note); // the matrix product: this device is no GPU
        Assert.True(report.Ceilings.CopyTerabytes > 0);
    }

    [NvrtcFact]
    public void Without_memory_a_row_says_so_and_the_rest_goes_on()
    {
        var driver = new FakeDriver { ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        var request = new BenchRequest
        {
            Pipelines = [DenseAttention.Descriptor], Lengths = [128, 256, 384], Keeps = [],
            Heads = 1, KeyValueHeads = 1, HeadDim = 64,
        };
        // Memory goes after the first row and comes back after the second.
        using var run = new BenchRun(request, device)
        {
            Measured = row =>
            {
                driver.Failures.Clear();
                if (row.Case.Length == 128)
                    driver.Failures[nameof(FakeDriver.MemoryAllocate)] = CudaResult.OutOfMemory;
            },
        };
        BenchReport? report = null;
        var context = new CommandContext([], TextWriter.Null, TextWriter.Null);
        BenchProgress.Track(context, run.Problems, progress => report = run.Execute(progress, "bench"));
        Assert.Equal([true, false, true], report!.Rows.Select(row => row.IsMeasured));
        Assert.Contains("wanted for a tensor", report.Rows[1].Error);
    }

    [GpuFact]
    public void Numbers_made_on_a_gpu_are_normal_and_follow_the_seed()
    {
        using CudaDevice device = AttentionDevice.Cuda(0);
        using CudaTensor<Half> tensor = CudaTensor.Allocate<Half>(device, 1 << 20);
        var fill = new NormalFill(device, ElementType.Float16);
        Half[] Values(int seed, double deviation)
        {
            var values = new Half[tensor.Count];
            fill.Fill(tensor, seed, deviation);
            tensor.CopyTo(values);
            return values;
        }
        double[] numbers = [.. Values(1, 2).Select(value => (double)value)];
        Assert.InRange(numbers.Average(), -0.02, 0.02);
        Assert.InRange(Math.Sqrt(numbers.Average(x => x * x)), 1.98, 2.02);
        Assert.InRange(numbers.Average(x => Math.Abs(x) < 2 ? 1 : 0), 0.67, 0.695); // within a deviation
        Assert.Equal(Values(1, 1), Values(1, 1));
        Assert.NotEqual(Values(1, 1), Values(2, 1));
        Assert.All(Values(3, 0), value => Assert.Equal(0, (double)value));
    }

    [UnixFact]
    public void Peers_take_turns_with_ours()
    {
        string script = Script(
            """
            *'"info"'*) echo '{"ok": true, "info": {"torch": "9.9"}}' ;;
            *'"open"'*) echo "$line" > "$0.case"
                echo '{"ok": true, "contenders": [{"implementation": "peer, fast"}, {"implementation": "peer, broken"}]}' ;;
            *'"prepare"'*broken*) echo '{"ok": false, "error": "OutOfMemoryError: too large"}' ;;
            *'"prepare"'*) echo '{"ok": true, "note": "as it is"}' ;;
            *'"sample"'*) echo '{"ok": true, "ms": 1000}' ;;
            *) echo '{"ok": true}' ;;
            """);
        string json = _folder.PathOf("o.json");
        CliResult result = CliResult.Run(
            ["bench", .. s_small, "--pipeline", "token-sparse-fixed", "--keep", "0.8", "--rest", "1",
             "--peers-command", $"sh {script}", "--json", json]);
        Assert.True(result.Code == 0, result.Output + result.Error);
        BenchReport report = BenchJson.Read(json);
        Assert.Equal(6, report.Rows.Count);
        BenchRow peer = report.Rows[1];
        Assert.Equal(("peer, fast", "as it is", false), (peer.Implementation, peer.Note, peer.IsOwn));
        Assert.Equal(Enumerable.Repeat(1000.0, 7), peer.Samples);
        Assert.Equal(report.Rows[0].Case.Kept, peer.Case.Kept);
        Assert.Equal("OutOfMemoryError: too large", report.Rows[2].Error);
        Assert.Contains("peers' torch: 9.9", result.Output);
        Assert.Contains("| peer, fast | 1000.0 |", result.Output);
        Assert.Contains("\"kept\":240", File.ReadAllText(script + ".case"));
    }

    [UnixFact]
    public void Peers_that_die_leave_ours_measured()
    {
        string script = Script(
            """
            *'"info"'*) echo '{"ok": true, "info": {}}' ;;
            *) echo 'no such library' >&2; exit 3 ;;
            """);
        CliResult result = CliResult.Run(
            ["bench", .. s_small, "--pipeline", "dense-attention", "--peers-command", $"sh {script}"]);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Contains("| dense, causal, fp32 | 300 | all | 64 | 2/1 | dense-attention |", result.Output);
        Assert.Contains("The peers ended at 'open'.", result.Output);

        Assert.Contains("The peers ended at 'info'.",
            CliResult.Run(["bench", .. s_small, "--peers-command", "sh /nowhere/peers.sh"]).FailedWith(CommandLine.Failure));
    }

    private string Script(string cases)
    {
        string path = _folder.PathOf("peers.sh");
        File.WriteAllText(path, $"while read -r line; do case \"$line\" in\n{cases}\nesac; done\n");
        return path;
    }
}
