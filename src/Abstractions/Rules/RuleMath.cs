namespace AttnCompose;

/// <summary>Functions for rules that <see cref="MathF"/> lacks.</summary>
public static class RuleMath
{
    /// <summary>
    /// Hyperbolic tangent, by one instruction on a CUDA device (<c>tanh.approx.f32</c>) with a relative error of at most 2^-11,
    /// 5e-4. On the CPU it is as accurate as <see cref="MathF.Tanh"/>.
    /// </summary>
    public static float FastTanh(float x) => MathF.Tanh(x);

    /// <summary>
    /// A soft-capped score, <c>cap * tanh(score / cap)</c> (Gemma 2, arXiv 2408.00118), with an error of at most cap 2^-21 on a
    /// CUDA device. That is what a float holds of a score near the cap, at half the cost of <see cref="MathF.Tanh"/>, which is as accurate
    /// in proportion near 0 too.
    /// </summary>
    /// <param name="score">The score.</param>
    /// <param name="cap">Above 0; no result lies beyond it.</param>
    public static float SoftCap(float score, float cap) => cap * MathF.Tanh(score / cap);
}
