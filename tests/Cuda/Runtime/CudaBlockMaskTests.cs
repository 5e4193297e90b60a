using System.Runtime.CompilerServices;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>Block lists in device memory: what goes there comes back, and calls refuse lists that do not fit.</summary>
public sealed class CudaBlockMaskTests : IDisposable
{
    private static readonly CudaProgram s_program = FakePipeline.Selecting with { SelectsTokens = false };
    private static readonly BlockSparseAttentionAttribute s_kernel = new();

    private readonly CudaDevice _device = new(new FakeDriver(), 0);

    public void Dispose() => _device.Dispose();

    [Fact]
    public void A_list_comes_back_from_the_device()
    {
        var mask = new BlockMask();
        mask.Reset(2, 3, 300, 9000, 128, 64, columns: true, slashes: true);
        mask.Add(1, 2, 2, 140, partial: true);
        mask.Add(0, 0, 0, 63);
        mask.SetColumns(0, 1, [1, 8999]);
        mask.AddSlash(1, 0, 8999);
        using CudaBlockMask copy = CudaBlockMask.From(_device, mask);
        var back = new BlockMask();
        copy.CopyTo(back);
        Assert.True(back.IsPartial(1, 2, 2, 140) && back.Visits(0, 0, 0, 63) && back.HasSlash(1, 0, 8999));
        Assert.False(back.IsPartial(0, 0, 0, 63) || back.Visits(0, 0, 0, 64) || back.HasSlash(0, 0, 8999));
        Assert.Equal([1, 8999], back.Columns(0, 1).ToArray());
        DeviceBlockList list = copy.List;
        Assert.Equal((3, 3, 9000, 141), (list.QueryBlocks, list.Words, list.ColumnCapacity, list.SlashWords));
        Assert.Equal((3, 1), (list.BatchRows, list.HeadRows));
        mask.Reset(2, 3, 300, 9001, 128, 64, columns: true, slashes: true);
        Assert.Throws<ArgumentException>(() => copy.CopyFrom(mask));
    }

    [Fact]
    public void One_row_stands_for_all_where_there_is_one()
    {
        using var list = new CudaBlockMask(_device, 1, 1, 128, 128, 128, 128);
        Assert.Equal((0, 0, (nint)0, (nint)0), (list.List.BatchRows, list.List.HeadRows, list.List.Columns, list.List.Slashes));
        Assert.Equal(96, Unsafe.SizeOf<DeviceBlockList>());
    }

    [Fact]
    public void Lists_that_do_not_fit_a_call_are_named()
    {
        var given = new BlockStages(new GivenBlocksAttribute(), s_kernel);
        var computed = new BlockStages(new ComputedBlocksAttribute(), s_kernel);
        using var good = new CudaBlockMask(_device, 1, 4, 300, 400, 128, 128);
        using var other = new CudaBlockMask(_device, 1, 4, 300, 401, 128, 128);
        using var columns = new CudaBlockMask(_device, 1, 4, 300, 400, 128, 128, columns: true);
        Check(given, good, null);
        Check(computed, null, good);
        Refused(given, null, null, "set Blocks");
        Refused(given, other, null, "[1, 4, 300, 401]");
        Refused(given, columns, null, "has columns");
        Refused(given, good, good, "chooses no blocks");
        Refused(computed, good, null, "takes no block list");
        Refused(computed, null, columns, "the problem is");
        Refused(null, good, null, "takes no block list");
        Refused(null, null, good, "chooses no blocks");

        void Refused(BlockStages? stages, CudaBlockMask? blocks, CudaBlockMask? selection, string why) =>
            Assert.Contains(why, Assert.Throws<ArgumentException>(() => Check(stages, blocks, selection)).Message);

        void Check(BlockStages? stages, CudaBlockMask? blocks, CudaBlockMask? selection)
        {
            CudaTensor<Half> Tensor(int heads, int length) => CudaTensor.AllocateBhld<Half>(_device, 1, heads, length, 64);
            var arguments = new CudaAttentionArguments<Half, Half>
            {
                Query = Tensor(4, 300), Key = Tensor(2, 400), Value = Tensor(2, 400), Output = Tensor(4, 300), Blocks = blocks,
                BlockSelection = selection,
            };
            CudaArgumentChecks.Check(in arguments, s_program, _device, stages);
        }
    }

    private sealed class ComputedBlocksAttribute : BlockSelectorAttribute
    {
        public override void Select<T, TRows, TScore>(
            in Cpu.CpuInputs<T> problem, Cpu.CpuExecution cpu, TRows rows, TScore scores, BlockMask blocks) =>
            throw new NotSupportedException("For its kind alone.");
    }
}
