using AttnCompose.Conformance;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>The suites on a device whose kernels do nothing: what is compared with something fails.</summary>
public sealed class DeviceSuiteTests
{
    private static SuiteCheck[] Run(Func<CudaDevice, IEnumerable<SuiteCheck>> suite)
    {
        var driver = new FakeDriver { ReadsCubins = true };
        SuiteCheck[] checks;
        using (var device = new CudaDevice(driver, 0))
            checks = [.. suite(device)];
        Assert.Empty(driver.Allocations);
        return checks;
    }

    private static void AssertFails(SuiteCheck[] checks, string said)
    {
        Assert.NotEmpty(checks);
        Assert.All(checks, check =>
        {
            Assert.NotNull(check.Failure);
            Assert.DoesNotContain("Exception", check.Failure, StringComparison.Ordinal);
        });
        Assert.Contains(checks, check => check.Failure!.Contains(said, StringComparison.Ordinal));
    }

    [NvrtcFact]
    public void A_reference_that_computes_nothing_fails() =>
        // Where lengths vary, the only sequence may be empty, and nothing is right.
        AssertFails(
            [.. Run(device => new ReferenceSuite(device).Run()).Where(check => !check.Name.Contains("vary=True", StringComparison.Ordinal))],
            "the oracle has");

    [NvrtcFact]
    public void Selections_that_nobody_made_fail() => AssertFails(Run(device => new SelectionSuite(device, 300).Run()), "keeps -1 tokens");

    [NvrtcFact]
    public void Replays_that_compute_nothing_fail() => AssertFails(Run(device => new GraphSuite(device).Run()), "NaN");

    [NvrtcFact]
    public void Threads_that_compute_nothing_fail() =>
        AssertFails(Run(device => new ThreadSuite(device, threads: 1, calls: 4).Run()), "alone, ");

    [NvrtcFact]
    public void Far_tensors_are_not_asked_for_where_compact_ones_are_wrong()
    {
        SuiteCheck[] checks = Run(device => new FarSuite(device, farthest: 1 << 24).Run());
        Assert.Contains(checks, check => check.Failure?.Contains("NaN", StringComparison.Ordinal) == true);
    }

    [NvrtcFact]
    public void Long_sequences_that_nobody_computed_fail()
    {
        SuiteCheck[] checks = Run(device => new LongSuite(device, 300).Run());
        Assert.Equal(30, checks.Length);
        Assert.All(checks, check => Assert.NotNull(check.Failure));
    }

    [NvrtcTheory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void The_reference_compiles_cleanly(string architecture)
    {
        var options = new CompileOptions { Architecture = architecture, Verbose = true };
        CompiledKernel kernel = KernelCompiler.Compile(DeviceReference.Source, options);
        Assert.Empty(kernel.Warnings);
        Assert.Equal("reference_attention", Assert.Single(kernel.Entries).Name);
        Assert.Equal(0, kernel.Entries[0].SpillStoreBytes);
    }
}
