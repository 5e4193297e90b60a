using AttnCompose.Pipelines.Cpu;
using AttnCompose.Pipelines.Tests.FlashAttention;

namespace AttnCompose.Pipelines.Tests.MicroKernels;

/// <summary>Each loop of a micro-kernel against the formula in its documentation, in double, for every width at hand.</summary>
public class MicroKernelTests
{
    private static readonly int[] s_widths = FlashAttentionTests.Widths;

    [Fact]
    public void Sizes_fit_each_other()
    {
        MicroKernelChecks<MicroKernel256>.Sizes_fit_each_other();
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Sizes_fit_each_other();
    }

    [Theory]
    [InlineData(8)]
    [InlineData(72)]
    [InlineData(256)]
    public void Scores_are_products_of_rows(int dim)
    {
        MicroKernelChecks<MicroKernel256>.Scores_are_products_of_rows(dim);
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Scores_are_products_of_rows(dim);
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 191)]
    [InlineData(true, 1)]
    [InlineData(true, 192)]
    public void Values_are_summed_by_weight_onto_what_was_there(bool half, int count)
    {
        MicroKernelChecks<MicroKernel256>.Values_are_summed_by_weight_onto_what_was_there(half, count);
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Values_are_summed_by_weight_onto_what_was_there(half, count);
    }

    [Theory]
    [InlineData(192, 192, 0)]
    [InlineData(5, 5, 0)]
    [InlineData(97, 92, 1)]
    [InlineData(3, -2, 1)]
    public void Softmax_step_brings_maximum_and_sum_up_to_date(int limit, int visible, int step)
    {
        MicroKernelChecks<MicroKernel256>.Softmax_step_brings_maximum_and_sum_up_to_date(limit, visible, step);
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Softmax_step_brings_maximum_and_sum_up_to_date(limit, visible, step);
    }

    [Fact]
    public void Exp2_is_within_an_ulp()
    {
        MicroKernelChecks<MicroKernel256>.Exp2_is_within_an_ulp();
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Exp2_is_within_an_ulp();
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(-1, 0.5)]
    [InlineData(10, 1024)]
    [InlineData(-126, 1.17549435e-38f)]
    [InlineData(-200, 0)]
    [InlineData(float.MinValue, 0)]
    [InlineData(float.NegativeInfinity, 0)]
    [InlineData(float.NaN, float.NaN)]
    public void Exp2_of_special_values(float x, float expected)
    {
        MicroKernelChecks<MicroKernel256>.Exp2_of_special_values(x, expected);
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Exp2_of_special_values(x, expected);
    }

    [Fact]
    public void Multiply_and_divide_touch_what_they_are_given()
    {
        MicroKernelChecks<MicroKernel256>.Multiply_and_divide_touch_what_they_are_given();
        if (s_widths.Contains(512))
            MicroKernelChecks<MicroKernel512>.Multiply_and_divide_touch_what_they_are_given();
    }
}
