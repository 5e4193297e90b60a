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
        ptx info    : Entry 'attend' has 36 wgmma, 2 mma
        ptx info    : Entry 'select' has 0 wgmma, 0 mma
        """;

    [Fact]
    public void Every_entry_has_its_own_numbers()
    {
        IReadOnlyList<EntryReport> entries = PtxasLog.Parse(TwoEntries);
        Assert.Equal(
            [new("attend", 168, 16, 8, 12, 1024, 752, 9, 36, 2), new EntryReport("select", 40, 0, 0, 0, 0, 560, 1, 0, 0)],
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
    public void Tensor_core_instructions_are_counted_entry_by_entry()
    {
        const string Ptx = """
            .visible .entry first(.param .u64 p) { wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {}; wgmma.fence.sync.aligned;
              wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {}; }
            .visible .entry second() { mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {}; ret; }
            .entry third() { ret; }
            """;
        string log = PtxasLog.CountProducts(Ptx);
        Assert.Contains("Entry 'first' has 2 wgmma, 0 mma\n", log, StringComparison.Ordinal);
        Assert.Contains("Entry 'second' has 0 wgmma, 1 mma\n", log, StringComparison.Ordinal);
        Assert.EndsWith("Entry 'third' has 0 wgmma, 0 mma", log, StringComparison.Ordinal);
        Assert.Empty(PtxasLog.Warnings(log));
    }

    [Fact]
    public void An_empty_log_reports_nothing()
    {
        Assert.Empty(PtxasLog.Parse(""));
        Assert.Empty(PtxasLog.Warnings(""));
    }
}
