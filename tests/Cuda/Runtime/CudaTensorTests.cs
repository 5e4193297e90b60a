namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class CudaTensorTests : IDisposable
{
    private readonly FakeDriver _driver = new();
    private readonly CudaDevice _device;

    public CudaTensorTests() => _device = new CudaDevice(_driver, 0);

    public void Dispose() => _device.Dispose();

    [Fact]
    public void Storage_order_is_kept_both_ways()
    {
        float[] data = [.. Enumerable.Range(0, 2 * 3 * 5 * 8).Select(i => (float)i)];
        using CudaTensor<float> bhld = CudaTensor.FromBhld<float>(_device, data, batch: 2, heads: 3, length: 5, dim: 8);
        Assert.Equal([2, 3, 5, 8], bhld.Lengths.ToArray());
        Assert.Equal([120, 40, 8, 1], bhld.Strides.ToArray());
        using CudaTensor<float> blhd = CudaTensor.FromBlhd<float>(_device, data, batch: 2, length: 5, heads: 3, dim: 8);
        Assert.Equal([2, 3, 5, 8], blhd.Lengths.ToArray());
        Assert.Equal([120, 8, 24, 1], blhd.Strides.ToArray());
        foreach (CudaTensor<float> tensor in new[] { bhld, blhd })
        {
            var back = new float[data.Length];
            tensor.CopyTo(back);
            Assert.Equal(data, back);
            Assert.True(tensor.OwnsMemory);
        }
    }

    [Fact]
    public void A_view_shares_memory_and_frees_nothing()
    {
        using CudaTensor<int> whole = CudaTensor.From<int>(_device, 0, 1, 2, 3, 4, 5, 6, 7);
        CudaTensor<int> view = whole.View(2, [2, 2], [2, 1]);
        var back = new int[4];
        view.CopyTo(back);
        Assert.Equal([2, 3, 4, 5], back);
        Assert.Equal(whole.Pointer + 8, view.Pointer);
        view.Dispose();
        Assert.Single(_driver.Allocations);
        Assert.Equal(whole.Pointer + 8, view.Pointer);
    }

    [Fact]
    public void A_view_cannot_leave_its_tensor()
    {
        using CudaTensor<int> whole = CudaTensor.Allocate<int>(_device, 8);
        Assert.Throws<ArgumentException>(() => whole.View(1, [8], [1]));
        Assert.Throws<ArgumentException>(() => whole.View(-1, [1], [1]));
        Assert.Throws<ArgumentException>(() => whole.View(0, [3], [4]));
        Assert.Throws<ArgumentException>(() => whole.View(0, [3], [1, 1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => whole.View(0, [2], [-1]));
        Assert.Equal(9 - 1, whole.View(0, [2], [7]).Extent);
    }

    [Fact]
    public void A_view_of_freed_memory_says_so()
    {
        CudaTensor<int> whole = CudaTensor.Allocate<int>(_device, 8);
        CudaTensor<int> view = whole.View(0, [4], [1]);
        whole.Dispose();
        Assert.Throws<ObjectDisposedException>(() => view.Pointer);
        Assert.Throws<ObjectDisposedException>(() => view.CopyFrom([1, 2, 3, 4]));
    }

    [Fact]
    public unsafe void A_foreign_pointer_is_used_and_not_freed()
    {
        int* memory = stackalloc int[4];
        CudaTensor<int> view = CudaTensor.View<int>(_device, (nint)memory, [4], [1]);
        view.CopyFrom([1, 2, 3, 4]);
        Assert.Equal(3, memory[2]);
        Assert.False(view.OwnsMemory);
        view.Dispose();
        Assert.DoesNotContain("MemoryFree", _driver.Calls);
        Assert.Throws<ArgumentNullException>(() => CudaTensor.View<int>(_device, 0, [4], [1]));
        Assert.Equal(0, CudaTensor.View<int>(_device, 0, [0], [1]).Count);
    }

    [Fact]
    public void Lengths_that_differ_and_gaps_are_refused()
    {
        using CudaTensor<int> tensor = CudaTensor.Allocate<int>(_device, 2, 4);
        Assert.Throws<ArgumentException>(() => tensor.CopyFrom(new int[7]));
        Assert.Throws<ArgumentException>(() => tensor.CopyTo(new int[9]));
        var e = Assert.Throws<ArgumentException>(() => tensor.View(0, [2, 2], [4, 1]).CopyTo(new int[4]));
        Assert.Contains("gaps", e.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => CudaTensor.FromBhld<float>(_device, new float[7], 1, 1, 1, 8));
        Assert.Single(_driver.Allocations); // what could not be filled was freed
    }

    [Fact]
    public void An_empty_tensor_allocates_nothing()
    {
        using CudaTensor<float> empty = CudaTensor.Allocate<float>(_device, 2, 0, 8);
        Assert.Equal((0, 0), (empty.Count, empty.Extent));
        empty.CopyFrom([]);
        empty.FillBytes(1);
        Assert.Empty(_driver.Allocations);
    }

    [Fact]
    public void Sizes_that_pass_63_bits_are_refused() =>
        Assert.Throws<OverflowException>(() => CudaTensor.Allocate<float>(_device, int.MaxValue, int.MaxValue, int.MaxValue));

    [Fact]
    public void A_stream_of_another_device_is_refused()
    {
        using var other = new CudaDevice(new FakeDriver { Devices = 2 }, 1);
        using CudaTensor<int> tensor = CudaTensor.Allocate<int>(_device, 2);
        Assert.Throws<ArgumentException>(() => tensor.FillBytes(0, other.DefaultStream));
    }
}
