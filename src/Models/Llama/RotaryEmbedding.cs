using System.Runtime.Intrinsics;

namespace AttnCompose.Models;

/// <summary>
/// Llama 3's stretch of the rotary frequencies: those that turn less than <paramref name="LowFrequencyFactor"/> times over the
/// original length are divided by <paramref name="Factor"/>, those that turn more than <paramref name="HighFrequencyFactor"/>
/// times are kept, those between are blended linearly in the number of turns.
/// </summary>
/// <param name="Factor">By how much the length grows.</param>
/// <param name="LowFrequencyFactor">Turns at and below which a frequency is divided.</param>
/// <param name="HighFrequencyFactor">Turns at and above which a frequency is kept.</param>
/// <param name="OriginalPositions">The length before the stretch.</param>
public sealed record Llama3RopeScaling(
    double Factor, double LowFrequencyFactor, double HighFrequencyFactor, int OriginalPositions)
{
    /// <summary>The scaled form of a frequency in radians a token.</summary>
    public double Apply(double frequency)
    {
        double turns = OriginalPositions * frequency / (2 * Math.PI);
        double keep = Math.Clamp((turns - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor), 0, 1);
        return (1 - keep) * (frequency / Factor) + keep * frequency;
    }
}

/// <summary>
/// Rotary position embedding in the half-split convention: element i of a head and element i + d/2 are one plane, turned by
/// position times frequency i. Angles are computed in double.
/// </summary>
internal sealed unsafe class RotaryEmbedding
{
    private readonly double[] _frequencies;
    private readonly Lock _gate = new();
    private volatile float[] _table = []; // per position: half cosines, then half sines
    private int _positions;

    public RotaryEmbedding(int headDim, double theta, Llama3RopeScaling? scaling)
    {
        _frequencies = new double[headDim / 2];
        for (int i = 0; i < _frequencies.Length; i++)
        {
            double frequency = Math.Pow(theta, -2.0 * i / headDim);
            _frequencies[i] = scaling?.Apply(frequency) ?? frequency;
        }
    }

    /// <summary>Radians a token, per plane.</summary>
    public ReadOnlySpan<double> Frequencies => _frequencies;

    /// <summary>Cosines and sines for at least positions [0, positions).</summary>
    public float[] Table(int positions)
    {
        lock (_gate)
        {
            if (positions <= _positions)
                return _table;
            int half = _frequencies.Length;
            int grown = Math.Max(positions, Math.Min(2 * _positions, 1 << 16));
            var table = new float[checked(grown * 2 * half)];
            _table.CopyTo(table, 0);
            for (int p = _positions; p < grown; p++)
            {
                for (int i = 0; i < half; i++)
                {
                    (double sin, double cos) = Math.SinCos(p * _frequencies[i]);
                    table[p * 2 * half + i] = (float)cos;
                    table[p * 2 * half + half + i] = (float)sin;
                }
            }
            (_table, _positions) = (table, grown);
            return table;
        }
    }

    /// <summary>Turns one head in place.</summary>
    /// <param name="head">headDim elements.</param>
    /// <param name="turn">The table's row of the position: half cosines, then half sines.</param>
    public static void Apply(float* head, ReadOnlySpan<float> turn)
    {
        int half = turn.Length / 2;
        fixed (float* cos = turn)
        {
            float* sin = cos + half;
            int i = 0;
            for (; i <= half - Vector256<float>.Count; i += Vector256<float>.Count)
            {
                Vector256<float> x = Vector256.Load(head + i), y = Vector256.Load(head + half + i);
                Vector256<float> c = Vector256.Load(cos + i), s = Vector256.Load(sin + i);
                (x * c - y * s).Store(head + i);
                (y * c + x * s).Store(head + half + i);
            }
            for (; i < half; i++)
            {
                float x = head[i], y = head[half + i];
                head[i] = x * cos[i] - y * sin[i];
                head[half + i] = y * cos[i] + x * sin[i];
            }
        }
    }
}
