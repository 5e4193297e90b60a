using System.Numerics.Tensors;

namespace AttnCompose.Models;

/// <summary>
/// How much each layer changes the residual stream, and the layers that may be made sparse by it: where tokens drift little
/// from layer to layer, it costs little to leave some out (arXiv 2602.03216, section on layer choice).
/// </summary>
public sealed class DriftProfile
{
    private readonly double[] _drift;

    private DriftProfile(double[] drift) => _drift = drift;

    /// <summary>Per layer, the mean over tokens of ||output - input|| / (||input|| + epsilon).</summary>
    public IReadOnlyList<double> Drift => _drift;

    /// <summary>Measures a model on a prompt under one pipeline, normally the dense one.</summary>
    /// <exception cref="ArgumentException">
    /// There are no tokens, one is outside the vocabulary, or the pipeline is not causal.
    /// </exception>
    public static DriftProfile Measure(LlamaModel model, ReadOnlySpan<int> tokens, IAttentionPipeline dense)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (tokens.IsEmpty)
            throw new ArgumentException("There are no tokens.", nameof(tokens));
        var drift = new double[model.Config.Layers];
        int hidden = model.Config.HiddenSize;
        using var session = new LlamaSession(model, tokens.Length);
        session.Prefill(tokens, _ => dense, (layer, input, output) => drift[layer] = MeanDrift(input, output, hidden));
        return new DriftProfile(drift);
    }

    /// <summary>
    /// The layers of least drift: those whose rank, from 1 for the least to the number of layers, is at most
    /// <paramref name="delta"/> times the number of layers. Ascending; of equal drifts the earlier layer ranks lower.
    /// </summary>
    /// <param name="delta">Fraction of the layers, 0 to 1; the paper uses 0.5 throughout.</param>
    public IReadOnlyList<int> SparseLayers(double delta = 0.5)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(delta);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(delta, 1);
        int count = (int)Math.Floor(delta * _drift.Length + 1e-9);
        return [.. Enumerable.Range(0, _drift.Length).OrderBy(layer => _drift[layer]).Take(count).Order()];
    }

    internal static double MeanDrift(ReadOnlySpan<float> input, ReadOnlySpan<float> output, int hidden)
    {
        const double Epsilon = 1e-6;
        double sum = 0;
        int rows = input.Length / hidden;
        for (int row = 0; row < rows; row++)
        {
            ReadOnlySpan<float> before = input.Slice(row * hidden, hidden);
            ReadOnlySpan<float> after = output.Slice(row * hidden, hidden);
            sum += TensorPrimitives.Distance(after, before) / (TensorPrimitives.Norm(before) + Epsilon);
        }
        return sum / rows;
    }
}
