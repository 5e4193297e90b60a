using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

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
    [InlineData(nameof(DeviceProblem.Reserved), 204)]
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
        Assert.Equal(12, Unsafe.SizeOf<LaunchShape>());
    }

    [NvrtcFact]
    public void The_compiler_lays_the_device_structs_out_alike()
    {
        // The shared header is the device code's own; where it is there, its structs are measured by the compiler.
        const string Header = "attncompose/problem.cuh";
        if (typeof(CudaDevice).Assembly.GetManifestResourceInfo(Header) is null)
            return;
        (string Device, string Host)[] members =
        [
            ("query", "Query"), ("key", "Key"), ("value", "Value"), ("output", "Output"), ("log_sum_exp", "LogSumExp"),
            ("key_lengths", "KeyLengths"), ("query_lengths", "QueryLengths"), ("query_strides", "QueryStrides"),
            ("key_strides", "KeyStrides"), ("value_strides", "ValueStrides"), ("output_strides", "OutputStrides"),
            ("log_sum_exp_strides", "LogSumExpStrides"), ("batch", "Batch"), ("query_heads", "QueryHeads"),
            ("key_value_heads", "KeyValueHeads"), ("query_length", "QueryLength"), ("key_length", "KeyLength"),
            ("head_dim", "HeadDim"), ("scale", "Scale"),
        ];
        var text = new StringBuilder($"#include <{Header}>\n");
        text.Append("static_assert(sizeof(attn::Problem) == 208);\nstatic_assert(sizeof(attn::TokenIndex) == 32);\n");
        text.Append("static_assert(sizeof(attn::LaunchShape) == 12);\n");
        foreach (var (device, host) in members)
            text.Append($"static_assert(__builtin_offsetof(attn::Problem, {device}) == {Marshal.OffsetOf<DeviceProblem>(host)});\n");
        text.Append("extern \"C\" __global__ void k(const __grid_constant__ attn::Problem problem) {}\n");
        Assert.NotEqual(0, KernelCompiler.Compile(new KernelSource("layout", text.ToString(), []), Sources.Sm80).Cubin.Length);
    }
}
