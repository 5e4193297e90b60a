using System.Globalization;

namespace AttnCompose.Conformance;

/// <summary>
/// Error limits taken from the data instead of the air: a result may be twice as far from the truth as straightforward code
/// of the same precision, plus twice the noise of rounding the output and of rounding the largest possible score to float32.
/// The latter matters where scores are large: the straightforward code may be lucky in a small tensor.
/// </summary>
public static class Tolerance
{
    /// <summary>
    /// Judges a result; null where it passes, else what is wrong.
    /// </summary>
    /// <param name="result">What is judged.</param>
    /// <param name="truth">The same in double.</param>
    /// <param name="samePrecision">The same from straightforward code of the same precision, rounded to the output type.</param>
    /// <param name="outputType">Element type of the output.</param>
    /// <param name="largestScore">Largest magnitude that a score may have.</param>
    /// <param name="probability">What probabilities are rounded to before they meet the values.</param>
    /// <param name="error">The error in units of what is allowed.</param>
    public static string? Judge(
        ReadOnlySpan<float> result, ReadOnlySpan<double> truth, ReadOnlySpan<float> samePrecision, ElementType outputType,
        double largestScore, ElementType probability, out double error)
    {
        error = double.PositiveInfinity;
        // A quarter: the yardstick rounds probabilities too; this is for tensors so small that it may be lucky.
        double relative = ProbabilityNoise(largestScore) + HalfUlp(probability) / 4;
        double largest = 0, yardstick = 0, noise = 0, squares = 0, yardstickSquares = 0, truthSquares = 0;
        int worst = -1;
        for (int i = 0; i < result.Length; i++)
        {
            if (!float.IsFinite(result[i]) && double.IsFinite(truth[i]))
                return Text($"element {i} is {result[i]}, the truth is {truth[i]}");
            double distance = Math.Abs(result[i] - truth[i]);
            double reference = Math.Abs(samePrecision[i] - truth[i]);
            if (distance > largest)
                (largest, worst) = (distance, i);
            yardstick = Math.Max(yardstick, reference);
            noise = Math.Max(noise,
                Math.Abs(Round(Round(truth[i] + 0.3, outputType) - 0.3, outputType) - truth[i]) + relative * Math.Abs(truth[i]));
            squares += distance * distance;
            yardstickSquares += reference * reference;
            truthSquares += truth[i] * truth[i];
        }
        double limit = 2 * yardstick + 2 * noise;
        double norm = Math.Sqrt(squares), normLimit = 2 * Math.Sqrt(yardstickSquares) + 2 * relative * Math.Sqrt(truthSquares);
        error = Math.Max(Ratio(largest, limit), Ratio(norm, normLimit));
        if (largest > limit)
            return Text($"element {worst} is {result[worst]}, the truth is {truth[worst]}: error {largest:E2} above {limit:E2}");
        return norm > normLimit ? Text($"L2 error {norm:E2} above {normLimit:E2}") : null;
    }

    /// <summary>Relative error of a probability when its score is rounded once, and it itself a few times.</summary>
    public static double ProbabilityNoise(double largestScore) => (largestScore + 4) * Math.ScaleB(1, -24);

    /// <summary>Largest relative error of rounding to a 16-bit type; 0 for float32, which <see cref="ProbabilityNoise"/> counts.</summary>
    private static double HalfUlp(ElementType type) => type switch
    {
        ElementType.Float16 => Math.ScaleB(1, -11),
        ElementType.BFloat16 => Math.ScaleB(1, -8),
        _ => 0,
    };

    /// <summary>Judges one log-sum-exp.</summary>
    public static bool LogSumExpIsClose(float result, double truth) =>
        double.IsFinite(truth) ? Math.Abs(result - truth) <= 1e-4 + 1e-5 * Math.Abs(truth) : result == truth;

    /// <summary>Rounds to an element type.</summary>
    public static double Round(double value, ElementType type) => type switch
    {
        ElementType.Float16 => (double)(Half)value,
        ElementType.BFloat16 => (double)(BFloat16)value,
        _ => (float)value,
    };

    private static double Ratio(double value, double limit) => value == 0 ? 0 : value / limit;

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
