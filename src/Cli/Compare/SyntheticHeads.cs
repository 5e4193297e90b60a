using System.Globalization;

namespace AttnCompose.Cli.Compare;

/// <summary>
/// Heads whose attention is made of what is seen in long prompts: sinks, a band beside the diagonal, a few heavy tokens, some
/// slashes, and noise beneath. docs/compare.md describes them.
/// </summary>
/// <remarks>
/// A score, in natural units, is the sum of four terms and noise N(0, 1). The head dim is shared out among them: one dimension
/// for the sinks, one for the heavy tokens, a quarter in pairs for the band, another for the slashes, the rest for noise. A pair
/// is rotated by an angle that grows with the position, as in rotary embeddings, so its term depends on the distance of query
/// and key alone: the mean of the cosines is 1 at the wanted distance and small elsewhere. How strong a term is follows from
/// the share of the last query's attention that it is to have, which makes the same head at 4K and at 128K tokens.
/// </remarks>
internal static class SyntheticHeads
{
    private const int Sinks = 4;
    private const int HeavyTokens = 24;
    private const int Slashes = 3;
    private const double BandWidth = 48; // tokens
    private const double KeySize = 2; // of a key in the dimension of sinks and of heavy tokens
    private const double LargestStep = 32; // of a strength; e to the power of the 64 that they add up to is any share

    /// <summary>Shares of the last query's attention: sinks, band, heavy tokens, slashes; what is left is noise.</summary>
    private static readonly (double Sink, double Band, double Heavy, double Slash)[] s_profiles =
        [(0.45, 0.35, 0.05, 0.05), (0.30, 0.10, 0.45, 0.05), (0.30, 0.15, 0.05, 0.40), (0.25, 0.15, 0.20, 0.10)];

    /// <summary>Makes the tensors of a seed.</summary>
    /// <param name="shape">Sizes; one sequence, as many queries as keys, head dim at least 32.</param>
    /// <param name="seed">The seed.</param>
    /// <param name="noise">
    /// Share of the noise in every profile, in (0, 1), to which the other shares are scaled; without it each has its own.
    /// </param>
    public static HeadTensors Make(ProblemShape shape, int seed, double? noise = null)
    {
        int length = shape.KeyLength, dim = shape.HeadDim;
        var query = new float[(long)shape.QueryHeads * length * dim];
        var key = new float[(long)shape.KeyValueHeads * length * dim];
        var value = new float[key.LongLength];
        Parallel.For(0, shape.KeyValueHeads, g => new Group(shape, seed, g).Fill(query, key, value, noise));
        string name = string.Create(CultureInfo.InvariantCulture, $"synthetic {length}{(noise is null ? "" : $", noise {noise}")}");
        return new(name, shape, query, key, value);
    }

    /// <summary>A key/value head and its query heads.</summary>
    private sealed class Group
    {
        private readonly ProblemShape _shape;
        private readonly int _head;
        private readonly Random _random;
        private readonly int _pairs;
        private readonly double[] _band, _slash; // angles a token
        private readonly int[] _offsets;
        private readonly double[] _weights; // of heavy tokens, by position; 0 elsewhere

        public Group(ProblemShape shape, int seed, int head)
        {
            (_shape, _head, _random) = (shape, head, new Random(unchecked(seed * 7919 + head)));
            _pairs = shape.HeadDim / 8;
            _band = [.. Enumerable.Range(0, _pairs).Select(_ => Normal() / BandWidth)];
            _slash = [.. Enumerable.Range(0, _pairs).Select(_ => Math.PI * (2 * _random.NextDouble() - 1))];
            int length = shape.KeyLength;
            (int least, int most) = (length / 16, Math.Max(length / 2, length / 16 + 1));
            _offsets = [.. Enumerable.Range(0, Slashes).Select(_ => _random.Next(least, most))];
            _weights = new double[length];
            for (int rank = 0; rank < HeavyTokens; rank++)
                _weights[_random.Next(Math.Min(Sinks, length - 1), length)] = 1 / (rank + 1.0); // Zipf
        }

        public void Fill(float[] query, float[] key, float[] value, double? noiseShare)
        {
            (int length, int dim, int group) = (_shape.KeyLength, _shape.HeadDim, _shape.GroupSize);
            double root = Math.Sqrt(dim);
            for (int j = 0; j < length; j++)
            {
                Span<float> row = key.AsSpan((_head * length + j) * dim, dim), of = value.AsSpan((_head * length + j) * dim, dim);
                row[0] = j < Sinks ? (float)KeySize : 0;
                row[1] = _weights[j] > 0 ? (float)(KeySize * KeyOf(_weights[j])) : 0;
                for (int m = 0; m < _pairs; m++)
                {
                    Rotate(row[(2 + 2 * m)..], 1, _band[m] * j);
                    Rotate(row[(2 + 2 * _pairs + 2 * m)..], 1, _slash[m] * j);
                }
                for (int d = 2 + 4 * _pairs; d < dim; d++)
                    row[d] = (float)Normal();
                for (int d = 0; d < dim; d++)
                    of[d] = (float)Normal();
            }
            for (int h = _head * group; h < (_head + 1) * group; h++)
            {
                (double sink, double band, double heavy, double slash) = Strengths(s_profiles[h % s_profiles.Length], noiseShare);
                int noise = dim - 2 - 4 * _pairs;
                for (int i = 0; i < length; i++)
                {
                    Span<float> row = query.AsSpan((h * length + i) * dim, dim);
                    row[0] = (float)(root * sink / KeySize);
                    row[1] = (float)(root * heavy / KeySize);
                    for (int m = 0; m < _pairs; m++)
                    {
                        Rotate(row[(2 + 2 * m)..], root * band / _pairs, _band[m] * i);
                        foreach (int offset in _offsets)
                            Rotate(row[(2 + 2 * _pairs + 2 * m)..], root * slash / _pairs, _slash[m] * (i - offset));
                    }
                    for (int d = 2 + 4 * _pairs; d < dim; d++)
                        row[d] = (float)(Normal() * root / Math.Sqrt(noise));
                }
            }
        }

        // Scores at which each part has its share. The noise multiplies all of them alike, so a plain key weighs 1.
        private (double Sink, double Band, double Heavy, double Slash) Strengths(
            (double Sink, double Band, double Heavy, double Slash) share, double? noise)
        {
            double parts = share.Sink + share.Band + share.Heavy + share.Slash;
            double rest = 1 - share.Sink - share.Band - share.Heavy - share.Slash;
            // Keys of mass 1 make up the noise, so a part is as large beside them as its share is beside theirs.
            double Wanted(double part) =>
                (noise is { } n ? part / parts * (1 - n) / n : part / rest) * _shape.KeyLength;
            double heavy = 0;
            for (double step = LargestStep; step > 1e-3; step /= 2)
            {
                double trial = heavy + step;
                double mass = _weights.Where(w => w > 0).Sum(w => Math.Exp(trial * KeyOf(w)));
                heavy = mass < Wanted(share.Heavy) ? trial : heavy;
            }
            return (
                Math.Log(Math.Max(1, Wanted(share.Sink) / Sinks)), Bump(_band, [0], Wanted(share.Band)), heavy,
                Bump(_slash, _offsets, Wanted(share.Slash)));
        }

        // The strength at which a sum of cosines adds so much mass to the last query's row.
        private double Bump(double[] angles, int[] offsets, double wanted)
        {
            double[] shape = [.. Enumerable.Range(0, _shape.KeyLength).Select(
                distance => offsets.Sum(offset => angles.Average(angle => Math.Cos(angle * (distance - offset)))))];
            double strength = 0;
            for (double step = LargestStep; step > 1e-3; step /= 2)
            {
                if (shape.Sum(cosine => Math.Exp((strength + step) * cosine) - 1) < wanted)
                    strength += step;
            }
            return strength;
        }

        private static void Rotate(Span<float> pair, double size, double angle)
        {
            pair[0] += (float)(size * Math.Cos(angle));
            pair[1] += (float)(size * Math.Sin(angle));
        }

        // 1 for the heaviest token, 3/4 for the lightest.
        private static double KeyOf(double weight) => 1 + Math.Log(weight) / (4 * Math.Log(HeavyTokens));

        private double Normal() =>
            Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());
    }
}
