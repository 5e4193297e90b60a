namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class CudaArgumentChecksTests : IDisposable
{
    private static readonly CudaProgram s_program = FakePipeline.Selecting;

    private readonly CudaDevice _device = new(new FakeDriver { Devices = 2 }, 0);

    public void Dispose() => _device.Dispose();

    private CudaTensor<T> Tensor<T>(params ReadOnlySpan<nint> lengths) where T : unmanaged => CudaTensor.Allocate<T>(_device, lengths);

    private CudaAttentionArguments<Half, Half> Good() => new()
    {
        Query = Tensor<Half>(2, 4, 10, 64),
        Key = Tensor<Half>(2, 2, 20, 64),
        Value = Tensor<Half>(2, 2, 20, 64),
        Output = Tensor<Half>(2, 4, 10, 64),
    };

    private void Refused(string parameter, CudaAttentionArguments<Half, Half> arguments, params string[] parts)
    {
        var e = Assert.ThrowsAny<ArgumentException>(() => CudaArgumentChecks.Check(in arguments, s_program, _device));
        Assert.Equal(parameter, e.ParamName);
        Assert.All(parts, part => Assert.Contains(part, e.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Good_arguments_give_the_shape() =>
        Assert.Equal(new ProblemShape(2, 4, 2, 10, 20, 64), CudaArgumentChecks.Check(Good(), s_program, _device));

    [Fact]
    public void Shapes_that_do_not_fit_are_named()
    {
        Refused("query", Good() with { Query = Tensor<Half>(4, 10, 64) }, "[4, 10, 64]");
        Refused("value", Good() with { Value = Tensor<Half>(2, 2, 21, 64) }, "[2, 2, 21, 64]", "[2, 2, 20, 64]");
        Refused("key", Good() with { Key = Tensor<Half>(1, 2, 20, 64), Value = Tensor<Half>(1, 2, 20, 64) }, "batch");
        Refused("key", Good() with { Key = Tensor<Half>(2, 3, 20, 64), Value = Tensor<Half>(2, 3, 20, 64) }, "4 query heads", "3");
        Refused("output", Good() with { Output = Tensor<Half>(2, 4, 11, 64) }, "[2, 4, 11, 64]");
        Refused("query", Good() with { Query = Tensor<Half>(2, 4, 21, 64) }, "causal", "21", "20");
        Refused("key", Good() with { Key = null! });
        Refused("LogSumExp", Good() with { LogSumExp = Tensor<float>(2, 4, 11) }, "[2, 4, 10]");
        Refused("KeyLengths", Good() with { KeyLengths = Tensor<int>(3) }, "[2]");
        Refused("QueryLengths", Good() with { QueryLengths = Tensor<int>(2, 1) }, "[2]");
        Refused("Scale", Good() with { Scale = float.NaN });
        Refused("Selection", Good() with { Selection = new(_device, 2, 4, 10) }, "[2, 4, 20]");
    }

    [Fact]
    public void Head_dims_that_are_not_taken_are_named()
    {
        foreach (int dim in new[] { 4, 60, 264 })
        {
            CudaAttentionArguments<Half, Half> arguments = Good() with
            {
                Query = Tensor<Half>(2, 4, 10, dim),
                Key = Tensor<Half>(2, 2, 20, dim),
                Value = Tensor<Half>(2, 2, 20, dim),
                Output = Tensor<Half>(2, 4, 10, dim),
            };
            Assert.Throws<NotSupportedException>(() => CudaArgumentChecks.Check(in arguments, s_program, _device));
        }
        Assert.Throws<NotSupportedException>(() => CudaArgumentChecks.Check(Good(), s_program with { HeadDim = 128 }, _device));
    }

    [Fact]
    public void A_base_that_is_not_aligned_is_named()
    {
        CudaTensor<Half> storage = Tensor<Half>(2 * 4 * 10 * 64 + 8);
        Refused("query", Good() with { Query = storage.View(1, [2, 4, 10, 64], [2560, 640, 64, 1]) }, "16 bytes");
        CudaArgumentChecks.Check(Good() with { Query = storage.View(8, [2, 4, 10, 64], [2560, 640, 64, 1]) }, s_program, _device);
    }

    [Theory]
    [InlineData(0, 3004, 640, 64)]
    [InlineData(1, 3000, 644, 64)]
    [InlineData(2, 3000, 712, 70)]
    public void A_stride_that_is_not_aligned_is_named(int stride, int batch, int head, int row)
    {
        CudaTensor<Half> storage = Tensor<Half>(10_000);
        Refused("query", Good() with { Query = storage.View(0, [2, 4, 10, 64], [batch, head, row, 1]) }, $"stride {stride}", "2-byte");
    }

    [Fact]
    public void The_stride_of_a_dimension_of_one_does_not_matter()
    {
        CudaTensor<Half> storage = Tensor<Half>(10_000);
        CudaAttentionArguments<Half, Half> arguments = new()
        {
            Query = storage.View(0, [1, 1, 1, 64], [3, 5, 7, 1]),
            Key = Tensor<Half>(1, 1, 20, 64),
            Value = Tensor<Half>(1, 1, 20, 64),
            Output = Tensor<Half>(1, 1, 1, 64),
        };
        CudaArgumentChecks.Check(in arguments, s_program, _device);
    }

    [Fact]
    public void Rows_must_be_contiguous()
    {
        CudaTensor<Half> storage = Tensor<Half>(20_000);
        Refused("query", Good() with { Query = storage.View(0, [2, 4, 10, 64], [5120, 1280, 128, 2]) }, "last stride 1");
    }

    [Fact]
    public void A_log_sum_exp_that_overlaps_itself_or_a_tensor_is_refused()
    {
        CudaTensor<float> storage = Tensor<float>(10_000);
        Refused("LogSumExp", Good() with { LogSumExp = storage.View(0, [2, 4, 10], [10, 10, 1]) }, "overlap");
        CudaTensor<Half> query = Good().Query;
        var view = CudaTensor.View<float>(_device, query.Pointer, [2, 4, 10], [40, 10, 1]);
        Refused("LogSumExp", Good() with { Query = query, LogSumExp = view }, "shares memory with query");
    }

    [Fact]
    public void An_output_that_overlaps_itself_or_an_input_is_refused()
    {
        CudaAttentionArguments<Half, Half> good = Good();
        CudaTensor<Half> storage = Tensor<Half>(10_000);
        Refused("output", good with { Output = storage.View(0, [2, 4, 10, 64], [640, 640, 64, 1]) }, "overlap");
        Refused("output", good with { Output = good.Query }, "shares memory with query");
        CudaTensor<Half> query = storage.View(0, [2, 4, 10, 64], [2560, 640, 64, 1]);
        Refused("output", good with { Query = query, Output = storage.View(2560, [2, 4, 10, 64], [2560, 640, 64, 1]) }, "query");
        CudaArgumentChecks.Check(
            good with { Query = storage.View(0, [1, 4, 10, 64], [2560, 640, 64, 1]), Output = storage.View(2560, [1, 4, 10, 64], [2560, 640, 64, 1]), Key = Tensor<Half>(1, 2, 20, 64), Value = Tensor<Half>(1, 2, 20, 64) },
            s_program, _device);
    }

    [Fact]
    public void A_tensor_of_another_device_is_named()
    {
        using var other = new CudaDevice(new FakeDriver { Devices = 2 }, 1);
        Refused("value", Good() with { Value = CudaTensor.Allocate<Half>(other, 2, 2, 20, 64) }, "cuda:1", "cuda:0");
        Refused("KeyLengths", Good() with { KeyLengths = CudaTensor.Allocate<int>(other, 2) }, "cuda:1");
    }

    [Fact]
    public void Element_types_that_the_device_code_does_not_take_are_named()
    {
        var e = Assert.Throws<NotSupportedException>(() => CudaArgumentChecks.CheckElements<float, float>(s_program));
        Assert.Contains("Float16 or BFloat16", e.Message, StringComparison.Ordinal);
        Assert.Throws<NotSupportedException>(() => CudaArgumentChecks.CheckElements<int, int>(s_program));
        Assert.Throws<NotSupportedException>(() => CudaArgumentChecks.CheckElements<Half, BFloat16>(s_program));
        Assert.Throws<NotSupportedException>(() => CudaArgumentChecks.CheckElements<Half, Half>(s_program with { Element = ElementType.BFloat16 }));
        CudaArgumentChecks.CheckElements<Half, float>(s_program);
        CudaArgumentChecks.CheckElements<BFloat16, BFloat16>(s_program);
    }

    [Fact]
    public void A_selection_from_a_pipeline_that_selects_nothing_is_refused()
    {
        CudaAttentionArguments<Half, Half> arguments = Good() with { Selection = new(_device, 2, 4, 20) };
        Assert.Throws<ArgumentException>(() => CudaArgumentChecks.Check(in arguments, s_program with { SelectsTokens = false }, _device));
        CudaArgumentChecks.Check(in arguments, s_program, _device);
    }
}
