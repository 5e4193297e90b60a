using System.Runtime.InteropServices;
using AttnCompose.Conformance;
using AttnCompose.Pipelines;

namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>
/// The generated pipelines on the fake driver with the real compiler: what the generated C# packs must be what the compiled
/// kernels read, kernel by kernel, and every address must lie in memory that was allocated.
/// </summary>
public sealed class ReadyPipelineTests
{
    public static TheoryData<string, int, int, int> Cases
    {
        get
        {
            var cases = new TheoryData<string, int, int, int>();
            foreach (PipelineDescriptor pipeline in ReadyPipelines.All)
            {
                cases.Add(pipeline.Name, 8, 0, 128);
                cases.Add(pipeline.Name, 9, 0, 64);
            }
            return cases;
        }
    }

    [NvrtcTheory]
    [MemberData(nameof(Cases))]
    public void Launch_code_and_kernels_belong_together(string name, int major, int minor, int headDim)
    {
        var driver = new FakeDriver { Capability = (major, minor), ReadsCubins = true };
        using (var device = new CudaDevice(driver, 0))
        using (IAttentionPipeline pipeline = ReadyPipelines.Find(name).Create(device, []))
        {
            CompiledTexts.Keep(
                new(name.Replace('-', '_'), ReadyPipelines.Find(name).CudaSource, [typeof(ReadyPipelines).Assembly]),
                new() { Architecture = device.Architecture, HeadDim = headDim, Element = ElementType.BFloat16, Output = ElementType.BFloat16 });
            // Once with keys and values gathered ahead, where there is a copy engine, for 8 heads in groups of 3, and once without.
            var shape = new ProblemShape(2, 4, 2, 300, 400, headDim);
            using DrawnTensors.OnDevice tensors = new DrawnTensors(pipeline.PipelinePlan.Tensors, in shape, seed: 1).CopyTo(device);
            device.Tuning = new() { GatherLength = 0, MaxWorkspace = 3 * 2 * 400 * 2 * headDim };
            Run<BFloat16, BFloat16>(device, (ICudaAttentionPipeline)pipeline, headDim, tensors.Tensors);
            device.Tuning = new() { GatherLength = int.MaxValue };
            Run<BFloat16, BFloat16>(device, (ICudaAttentionPipeline)pipeline, headDim, tensors.Tensors);
            Assert.Equal(pipeline.PipelinePlan.Kernels.Count, driver.Modules.Count);
            Assert.Equal(
                pipeline.PipelinePlan.Kernels.Select(kernel => kernel.Name).Order(StringComparer.Ordinal),
                driver.Kernels.Keys.Order(StringComparer.Ordinal));
            foreach ((string entry, FakeKernel kernel) in driver.Kernels)
            {
                string condition = pipeline.PipelinePlan.Kernels.Single(known => known.Name == entry).Condition;
                bool gathers = condition.StartsWith("from", StringComparison.Ordinal);
                int others = condition.Length > 0 && major == 9 ? 1 : 2;
                Assert.Equal(!gathers ? others : major == 9 ? 3 : 0, kernel.Launches.Count);
                for (int i = 0; i < kernel.Launches.Count; i++)
                {
                    var (config, arguments) = kernel.Launches[i];
                    Assert.True(config is { GridX: > 0, GridY: > 0 } && config.GridZ == (gathers ? 1u : 2u), entry);
                    Assert.Equal((uint)kernel.Shape.Threads, config.BlockX);
                    Assert.Equal((0, 208), kernel.Parameters![0]);
                    var problem = MemoryMarshal.Read<DeviceProblem>(arguments);
                    Assert.Equal((2, 4, 2, 300, 400, headDim), (problem.Batch, problem.QueryHeads, problem.KeyValueHeads, problem.QueryLength, problem.KeyLength, problem.HeadDim));
                    if (gathers)
                    {
                        var heads = MemoryMarshal.Read<DeviceHeadRange>(arguments.AsSpan(kernel.Parameters[1].Offset));
                        Assert.Equal(new(3 * i, i < 2 ? 3 : 2), heads);
                        Assert.Equal((uint)heads.Count, config.GridY);
                    }
                    // Packed one after another; the driver moves each to where the kernel has it.
                    int end = 0;
                    foreach ((int place, int bytes) in kernel.Parameters.Select((p, place) => (place, p.Bytes)))
                    {
                        int alignment = bytes == 2 * DeviceTensorMaps.MapBytes ? DeviceTensorMaps.Alignment : Math.Min(bytes, 8);
                        int offset = (end + alignment - 1) & -alignment;
                        end = offset + bytes;
                        if (place >= (gathers ? 2 : 1) && bytes is (8 or 32))
                            AssertAllocated(driver, entry, arguments.AsSpan(offset, bytes));
                    }
                }
            }
            if (driver.TensorMaps.Count > 0 && pipeline.PipelinePlan.Buffers.Any(buffer => buffer.Name == "gathered_key"))
            {
                var (_, dims, strides, _, _, _) = driver.TensorMaps[0];
                Assert.Equal([400, 3, 1], [(int)dims[1], (int)dims[3], (int)dims[4]]);
                Assert.Equal([(ulong)headDim * 2, (ulong)headDim * 2 * 400], [strides[0], strides[2]]);
                Assert.Equal(2, driver.TensorMaps.Count); // one of each for all groups
            }
        }
        Assert.Empty(driver.Allocations);
    }

    [NvrtcTheory]
    [InlineData(64, 64, 3)]
    [InlineData(96, 32, 2)]
    [InlineData(128, 64, 3)]
    public void The_hopper_loop_gets_maps_of_key_and_value(int headDim, int slab, int swizzle)
    {
        var driver = new FakeDriver { Capability = (9, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using DenseAttention pipeline = DenseAttention.Create(device);
        Run<BFloat16, BFloat16>(device, pipeline, headDim);
        Run<Half, Half>(device, pipeline, headDim);

        FakeKernel kernel = driver.Kernels["dense_attention_attend"];
        Assert.Equal((90, slab), (kernel.Shape.MainLoop, kernel.Shape.BoxColumns));
        Assert.Equal(4, driver.TensorMaps.Count);
        var (address, dims, strides, box, element, mode) = driver.TensorMaps[0];
        Assert.Equal(((ulong)slab, 400UL, (ulong)(headDim / slab), 2UL, 2UL), (dims[0], dims[1], dims[2], dims[3], dims[4]));
        // key is [batch, length, heads, dim] in memory: row, slab, head, batch.
        Assert.Equal([(ulong)(2 * headDim * 2), (ulong)(2 * slab), (ulong)(headDim * 2), (ulong)(400 * 2 * headDim * 2)], strides);
        Assert.Equal([(uint)slab, (uint)kernel.Shape.BoxRows, (uint)(headDim / slab), 1u, 1u], box);
        Assert.Equal((9, swizzle), (element, mode));
        Assert.Equal(6, driver.TensorMaps[2].ElementType);
        // The fake fills a map with its number; the kernel at hand is the one of the second run.
        var (_, arguments) = Assert.Single(kernel.Launches);
        const int offset = 256; // after the problem's 208 bytes, at the next multiple of 64
        Assert.Equal(256, kernel.Parameters![1].Bytes);
        Assert.All(arguments.AsSpan(offset, 128).ToArray(), b => Assert.Equal(3, b));
        Assert.All(arguments.AsSpan(offset + 128, 128).ToArray(), b => Assert.Equal(4, b));
        Assert.NotEqual(0, address);
    }

    [NvrtcTheory]
    [InlineData(301, 1L << 30, false)] // as many queries as the gather length, and it gathers
    [InlineData(300, 1L << 30, true)]
    [InlineData(0, 2 * 400 * 2 * 128, true)] // room for one head
    [InlineData(0, 2 * 400 * 2 * 128 - 1, false)]
    public void Length_and_room_choose_whether_rows_are_gathered_ahead(int gatherLength, long room, bool gathers)
    {
        var driver = new FakeDriver { Capability = (9, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0) { Tuning = new() { GatherLength = gatherLength, MaxWorkspace = room } };
        using TokenSparseFixed pipeline = TokenSparseFixed.Create(device);
        Run<BFloat16, BFloat16>(device, pipeline, 128);
        int rounds = driver.Kernels["token_sparse_fixed_gather"].Launches.Count;
        Assert.Equal(!gathers ? 0 : room < 1 << 30 ? 8 : 1, rounds);
        Assert.Equal(rounds, driver.Kernels["token_sparse_fixed_attend_gathered"].Launches.Count);
        Assert.Equal(gathers ? 0 : 1, driver.Kernels["token_sparse_fixed_attend"].Launches.Count);
    }

    [NvrtcFact]
    public void A_head_dim_without_the_hopper_loop_gathers_in_the_loop()
    {
        var driver = new FakeDriver { Capability = (9, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0) { Tuning = new() { GatherLength = 0 } };
        using TokenSparseFixed pipeline = TokenSparseFixed.Create(device);
        Run<BFloat16, BFloat16>(device, pipeline, 40);
        Assert.Single(driver.Kernels["token_sparse_fixed_attend"].Launches);
        Assert.Empty(driver.Kernels["token_sparse_fixed_attend_gathered"].Launches);
        Assert.Empty(driver.TensorMaps);
    }

    [NvrtcFact]
    public void The_portable_loop_reads_no_maps()
    {
        var driver = new FakeDriver { Capability = (8, 0), ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using DenseAttention pipeline = DenseAttention.Create(device);
        Run<BFloat16, BFloat16>(device, pipeline, 128);
        Assert.Equal((80, 0), (driver.Kernels["dense_attention_attend"].Shape.MainLoop, driver.Kernels["dense_attention_attend"].Shape.BoxRows));
        Assert.Empty(driver.TensorMaps);
    }

    [NvrtcFact]
    public void From_the_second_run_of_a_shape_on_a_generated_pipeline_allocates_nothing()
    {
        var driver = new FakeDriver { ReadsCubins = true };
        using var device = new CudaDevice(driver, 0);
        using TokenSparsePrefill pipeline = TokenSparsePrefill.Create(device);
        device.Tuning = new() { GatherLength = 0 };
        using CudaTensor<BFloat16> query = CudaTensor.AllocateBhld<BFloat16>(device, 1, 4, 300, 64);
        using CudaTensor<BFloat16> key = CudaTensor.AllocateBhld<BFloat16>(device, 1, 2, 300, 64);
        using CudaTensor<BFloat16> output = CudaTensor.AllocateBhld<BFloat16>(device, 1, 4, 300, 64);
        var arguments = new CudaAttentionArguments<BFloat16, BFloat16> { Query = query, Key = key, Value = key, Output = output };
        for (int i = 0; i < 3; i++)
            pipeline.Run(in arguments); // the second makes a graph, which the driver has to know
        driver.Records = false;
        for (int i = 0; i < 200; i++)
            pipeline.Run(in arguments);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
            pipeline.Run(in arguments);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static void Run<T, TOut>(CudaDevice device, ICudaAttentionPipeline pipeline, int headDim, CudaStageTensors? tensors = null)
        where T : unmanaged
        where TOut : unmanaged
    {
        using CudaTensor<T> query = CudaTensor.AllocateBlhd<T>(device, 2, 300, 4, headDim);
        using CudaTensor<T> key = CudaTensor.AllocateBlhd<T>(device, 2, 400, 2, headDim);
        using CudaTensor<T> value = CudaTensor.AllocateBhld<T>(device, 2, 2, 400, headDim);
        using CudaTensor<TOut> output = CudaTensor.AllocateBlhd<TOut>(device, 2, 300, 4, headDim);
        using CudaBlockMask? blocks = pipeline is BlockSparse ? new CudaBlockMask(device, 1, 4, 300, 400, 128, 128) : null;
        pipeline.Run(new CudaAttentionArguments<T, TOut>
        {
            Query = query, Key = key, Value = value, Output = output, Blocks = blocks, Layer = new(1, 4), Tensors = tensors,
        });
    }

    /// <summary>
    /// Every eight bytes that look like an address lie in a block; small numbers (a parameter, a capacity) do not.
    /// </summary>
    private static void AssertAllocated(FakeDriver driver, string entry, ReadOnlySpan<byte> argument)
    {
        bool IsInside(long address) => driver.Allocations.Any(block => address >= block.Key && address < block.Key + (long)block.Value);
        if (argument.Length == 32)
        {
            var tokens = MemoryMarshal.Read<DeviceTokenIndex>(argument);
            Assert.True(IsInside(tokens.Positions) && IsInside(tokens.KeyCount) && IsInside(tokens.QueryBegin), entry);
            Assert.Equal(400, tokens.Capacity);
            return;
        }
        long word = MemoryMarshal.Read<long>(argument);
        double number = BitConverter.Int64BitsToDouble(word); // a parameter of type double is no address
        Assert.True(IsInside(word) || (number is > 1e-6 and < 1e6), $"{entry}: 0x{word:x}");
    }
}
