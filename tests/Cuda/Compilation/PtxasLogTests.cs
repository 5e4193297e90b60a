namespace AttnCompose.Cuda.Tests.Compilation;

public sealed class PtxasLogTests
{
    private const string TwoEntries = """
        ptxas info    : 24 bytes gmem
        ptxas info    : Compiling entry function 'attend' for 'sm_90a'
        ptxas info    : Function properties for attend
            16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
        ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to ... in function 'attend'
        ptxas info    : Used 168 registers, used 9 barriers, 1024 bytes smem, 736 bytes cmem[0], 16 bytes cmem[2]
        ptxas info    : Compiling entry function 'select' for 'sm_90a'
        ptxas info    : Function properties for select
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
        ptxas info    : Used 40 registers, used 1 barriers, 560 bytes cmem[0]
        ptxas warning : Registers are spilled to local memory in function 'attend', 8 bytes spill stores, 12 bytes spill loads
        """;

    [Fact]
    public void Every_entry_has_its_own_numbers()
    {
        IReadOnlyList<EntryReport> entries = PtxasLog.Parse(TwoEntries);
        Assert.Equal(
            [new("attend", 168, 16, 8, 12, 1024, 752, 9), new EntryReport("select", 40, 0, 0, 0, 0, 560, 1)],
            entries);
    }

    [Fact]
    public void Warnings_and_lost_performance_are_kept_and_information_is_not()
    {
        IReadOnlyList<string> warnings = PtxasLog.Warnings(TwoEntries);
        Assert.Equal(2, warnings.Count);
        Assert.Contains("C7510", warnings[0], StringComparison.Ordinal);
        Assert.Contains("spilled", warnings[1], StringComparison.Ordinal);
    }

    [Fact]
    public void An_empty_log_reports_nothing()
    {
        Assert.Empty(PtxasLog.Parse(""));
        Assert.Empty(PtxasLog.Warnings(""));
    }
}
