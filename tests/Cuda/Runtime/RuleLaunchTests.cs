using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using AttnCompose.Samples;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>
/// Pipelines with rules on the fake driver with the real compiler: options and spans must arrive where the compiled kernel reads
/// them.
/// </summary>
public sealed class RuleLaunchTests
{
    [NvrtcFact]
    public void A_span_in_device_memory_arrives_by_address_and_length()
    {
        var driver = new FakeDriver { Capability = (8, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using PackedAttention pipeline = PackedAttention.Create(device);
        using CudaTensor<int> document = CudaTensor.From<int>(device, [.. Enumerable.Range(0, 100)]);
        using CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(device, 1, 2, 100, 64), output = CudaTensor.AllocateBhld<Half>(device, 1, 2, 100, 64);
        pipeline.Run(tensor, tensor, tensor, output, document);
        Assert.Equal(new DeviceSpan(document.Pointer, 100), Argument<DeviceSpan>(driver, "packed_attention_attend", fromEnd: 2));
        // One block of 4096 elements holds the bounds of all.
        var bounds = Argument<DeviceSpan>(driver, "packed_attention_attend", fromEnd: 1);
        Assert.Equal(bounds, Argument<DeviceSpan>(driver, "packed_attention_rule_bounds", fromEnd: 1));
        Assert.Equal(1, bounds.Length);
        Assert.NotEqual(0, bounds.Data);

        using CudaTensor<int> shorter = CudaTensor.From<int>(device, [.. Enumerable.Range(0, 99)]);
        Assert.Contains("99 elements", Assert.Throws<ArgumentException>("document", () => pipeline.Run(tensor, tensor, tensor, output, shorter)).Message, StringComparison.Ordinal);
        CudaTensor<int> gaps = document.View(0, [50], [2]);
        Assert.Contains("gaps", Assert.Throws<ArgumentException>("document", () => pipeline.Run(tensor, tensor, tensor, output, gaps)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>("document", () => pipeline.Run(tensor, tensor, tensor, output, document: null!));
        Assert.Throws<InvalidOperationException>(() => ((ICudaAttentionPipeline)pipeline).Run(tensor, tensor, tensor, output));
    }

    [NvrtcFact]
    public unsafe void A_span_in_host_memory_is_copied_to_the_device()
    {
        var driver = new FakeDriver { Capability = (8, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using AlibiAttention pipeline = AlibiAttention.Create(device);
        float[] slopes = [0.5f, 0.25f, 0.125f];
        var data = new Half[3 * 40 * 64];
        var output = new Half[data.Length];
        pipeline.Run(
            AttentionTensor.FromBhld(data, 1, 3, 40, 64), AttentionTensor.FromBhld(data, 1, 3, 40, 64), AttentionTensor.FromBhld(data, 1, 3, 40, 64),
            AttentionTensor.FromBhld(output, 1, 3, 40, 64), slopes);
        var span = Argument<DeviceSpan>(driver, "alibi_attention_attend", fromEnd: 1);
        Assert.Equal(3, span.Length);
        Assert.Equal(slopes, new ReadOnlySpan<float>((void*)span.Data, 3).ToArray());
    }

    [NvrtcFact]
    public void Options_arrive_in_the_order_of_the_kernel()
    {
        var driver = new FakeDriver { Capability = (8, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using SlidingWindowAttention pipeline = SlidingWindowAttention.Create(device, new() { Window = 20, Sinks = 3 });
        using CudaTensor<Half> tensor = CudaTensor.AllocateBhld<Half>(device, 1, 2, 100, 64), output = CudaTensor.AllocateBhld<Half>(device, 1, 2, 100, 64);
        pipeline.Run(tensor, tensor, tensor, output);
        Assert.Equal(20, Argument<int>(driver, "sliding_window_attention_attend", fromEnd: 2));
        Assert.Equal(3, Argument<int>(driver, "sliding_window_attention_attend", fromEnd: 1));
        pipeline.Configure(new() { Window = 30 });
        pipeline.Run(tensor, tensor, tensor, output);
        Assert.Equal(30, Argument<int>(driver, "sliding_window_attention_attend", fromEnd: 2));
    }

    [Fact]
    public void The_bounds_of_spans_are_a_buffer_of_the_workspace()
    {
        var workspace = new CudaWorkspace();
        workspace.AddRuleBounds(2, new ProblemShape(3, 1, 1, 5000, 5000, 64));
        // Of each span and sequence two blocks of 4096 keys: the bounds of 64 blocks in it and of itself, two integers each.
        Assert.Equal([(null, "rule_bounds", 0L, 2 * 3 * 2 * 65 * 2 * 4L)], workspace.Buffers);
        Assert.True(workspace.TotalBytes >= workspace.Buffers.Single().Bytes);
    }

    [Theory]
    [InlineData(AttentionMask.Causal, 10, 1 << 22, true)]
    [InlineData(AttentionMask.Causal, 10, (1 << 22) + 1, false)]
    [InlineData(AttentionMask.Full, 1 << 21, 1 << 21, true)]
    [InlineData(AttentionMask.Full, 1 << 21, (1 << 21) + 1, false)]
    public void Rules_bound_the_positions(AttentionMask mask, int queries, int keys, bool allowed)
    {
        CudaProgram program = FakePipeline.Selecting with { Mask = mask, HasRules = true };
        var shape = new ProblemShape(1, 1, 1, queries, keys, 64);
        Exception? refused = Record.Exception(() => CudaArgumentChecks.CheckPositions(in shape, program));
        Assert.Equal(allowed, refused is null);
        CudaArgumentChecks.CheckPositions(in shape, program with { HasRules = false });
    }

    // The kernel's offsets count from where its arguments begin in constant memory; from the end on, the host's are the same.
    private static T Argument<T>(FakeDriver driver, string entry, int fromEnd) where T : unmanaged
    {
        FakeKernel kernel = driver.Kernels[entry];
        (int offset, int bytes) = kernel.Parameters![^fromEnd];
        Assert.Equal(Unsafe.SizeOf<T>(), bytes);
        ReadOnlySpan<byte> packed = kernel.Launches[^1].Arguments;
        (int lastOffset, int lastBytes) = kernel.Parameters[^1];
        return MemoryMarshal.Read<T>(packed[(packed.Length - lastOffset - lastBytes + offset)..]);
    }
}
