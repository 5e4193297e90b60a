using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class DeviceProblemTests
{
    [Theory]
    [InlineData(nameof(DeviceProblem.Query), 0)]
    [InlineData(nameof(DeviceProblem.Key), 8)]
    [InlineData(nameof(DeviceProblem.Value), 16)]
    [InlineData(nameof(DeviceProblem.Output), 24)]
    [InlineData(nameof(DeviceProblem.LogSumExp), 32)]
    [InlineData(nameof(DeviceProblem.KeyLengths), 40)]
    [InlineData(nameof(DeviceProblem.QueryLengths), 48)]
    [InlineData(nameof(DeviceProblem.QueryStrides), 56)]
    [InlineData(nameof(DeviceProblem.KeyStrides), 80)]
    [InlineData(nameof(DeviceProblem.ValueStrides), 104)]
    [InlineData(nameof(DeviceProblem.OutputStrides), 128)]
    [InlineData(nameof(DeviceProblem.LogSumExpStrides), 152)]
    [InlineData(nameof(DeviceProblem.Batch), 176)]
    [InlineData(nameof(DeviceProblem.QueryHeads), 180)]
    [InlineData(nameof(DeviceProblem.KeyValueHeads), 184)]
    [InlineData(nameof(DeviceProblem.QueryLength), 188)]
    [InlineData(nameof(DeviceProblem.KeyLength), 192)]
    [InlineData(nameof(DeviceProblem.HeadDim), 196)]
    [InlineData(nameof(DeviceProblem.Scale), 200)]
    [InlineData(nameof(DeviceProblem.Layer), 204)]
    [InlineData(nameof(DeviceProblem.Layers), 206)]
    public void Members_lie_where_the_device_struct_has_them(string member, int offset) =>
        Assert.Equal(offset, (int)Marshal.OffsetOf<DeviceProblem>(member));

    [Theory]
    [InlineData(nameof(DeviceTokenIndex.Positions), 0)]
    [InlineData(nameof(DeviceTokenIndex.KeyCount), 8)]
    [InlineData(nameof(DeviceTokenIndex.QueryBegin), 16)]
    [InlineData(nameof(DeviceTokenIndex.Capacity), 24)]
    public void Members_of_the_token_index_lie_where_the_device_struct_has_them(string member, int offset) =>
        Assert.Equal(offset, (int)Marshal.OffsetOf<DeviceTokenIndex>(member));

    [Fact]
    public void Sizes_are_those_of_the_device_structs()
    {
        Assert.Equal(208, Unsafe.SizeOf<DeviceProblem>());
        Assert.Equal(32, Unsafe.SizeOf<DeviceTokenIndex>());
        Assert.Equal(24, Unsafe.SizeOf<DeviceStrides>());
        Assert.Equal(48, Unsafe.SizeOf<LaunchShape>());
        Assert.Equal(256, Unsafe.SizeOf<DeviceTensorMaps>());
        Assert.Equal(96, Unsafe.SizeOf<DeviceBlockList>());
    }

    [NvrtcFact]
    public void The_compiler_lays_the_device_structs_out_alike()
    {
        // Values initialised by name, in the order of declaration, must be in the device code as the host has them in memory.
        // Pointers other than null are no constants for the compiler; their order and size are checked all the same.
        const string Text = """
            #include <attncompose/block_list.cuh>

            extern "C" __device__ attn::Problem probe = {
                .query = nullptr, .key = nullptr, .value = nullptr, .output = nullptr, .log_sum_exp = nullptr,
                .key_lengths = nullptr, .query_lengths = nullptr,
                .query_strides = {.batch = 101, .head = 102, .row = 103}, .key_strides = {104, 105, 106},
                .value_strides = {107, 108, 109}, .output_strides = {110, 111, 112}, .log_sum_exp_strides = {113, 114, 115},
                .batch = 201, .query_heads = 202, .key_value_heads = 203, .query_length = 204, .key_length = 205,
                .head_dim = 206, .scale = 0.375f, .layer = 207, .layers = 208};
            extern "C" __device__ attn::TokenIndex tokens = {
                .positions = nullptr, .key_count = nullptr, .query_begin = nullptr, .capacity = 0x0102030405060708};
            extern "C" __device__ attn::LaunchShape shape = {
                .threads = 301, .tile = 302, .shared_bytes = 303, .main_loop = 304, .box_columns = 305, .box_rows = 306,
                .team = 307, .held_keys = 308, .segments = 309, .heads = 310, .resident = 311, .waits = 312};
            extern "C" __device__ attn::BlockList blocks = {
                .visit = nullptr, .partial = nullptr, .columns = nullptr, .column_count = nullptr, .slashes = nullptr,
                .query_blocks = 401, .words = 402, .column_capacity = 403, .slash_words = 404, .batch_rows = 405, .head_rows = 406,
                .dense_heads = {{1ull << 3, 1ull << 1, 1ull << 2, 1ull << 63}}};
            static_assert(sizeof(attn::Problem) == 208 && sizeof(attn::TokenIndex) == 32 && sizeof(attn::LaunchShape) == 48 &&
                sizeof(attn::TensorMaps) == 256 && alignof(attn::TensorMaps) == 64);
            extern "C" __global__ void k(const __grid_constant__ attn::Problem problem) {}
            """;
        var problem = new DeviceProblem
        {
            QueryStrides = new(101, 102, 103),
            KeyStrides = new(104, 105, 106),
            ValueStrides = new(107, 108, 109),
            OutputStrides = new(110, 111, 112),
            LogSumExpStrides = new(113, 114, 115),
            Batch = 201,
            QueryHeads = 202,
            KeyValueHeads = 203,
            QueryLength = 204,
            KeyLength = 205,
            HeadDim = 206,
            Scale = 0.375f,
            Layer = 207,
            Layers = 208,
        };
        CompiledKernel kernel = KernelCompiler.Compile(new KernelSource("layout", Text, []), Sources.Sm80);
        AssertContains(kernel, in problem);
        AssertContains(kernel, new DeviceTokenIndex { Capacity = 0x0102030405060708 });
        AssertContains(kernel, new DeviceBlockList
        {
            QueryBlocks = 401, Words = 402, ColumnCapacity = 403, SlashWords = 404, BatchRows = 405, HeadRows = 406,
            DenseHeads = new HeadSet(3, 65, 130, 255),
        });
        AssertContains(kernel, new LaunchShape(301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312));

        static void AssertContains<T>(CompiledKernel kernel, in T value) where T : unmanaged =>
            Assert.True(kernel.Cubin.Span.IndexOf(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value))) > 0, typeof(T).Name);
    }
}
