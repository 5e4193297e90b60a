namespace AttnCompose.Models.Tests;

public sealed unsafe class RotaryEmbeddingTests
{
    [Theory]
    [InlineData(2, 10_000)]
    [InlineData(10, 10_000)]
    [InlineData(36, 123)]
    [InlineData(128, 500_000)]
    public void TurnsEachPlaneByPositionTimesFrequency(int dim, double theta)
    {
        var rotary = new RotaryEmbedding(dim, theta, null);
        var random = new Random(dim);
        foreach (int position in (int[])[0, 1, 2, 77, 1000, 30_000])
        {
            float[] head = [.. Enumerable.Range(0, dim).Select(_ => (float)random.NextDouble() - 0.5f)];
            float[] turned = [.. head];
            float[] table = rotary.Table(position + 1);
            fixed (float* data = turned)
                RotaryEmbedding.Apply(data, table.AsSpan(position * dim, dim));
            for (int i = 0; i < dim / 2; i++)
            {
                double angle = position / Math.Pow(theta, 2.0 * i / dim);
                Assert.Equal(head[i] * Math.Cos(angle) - head[i + dim / 2] * Math.Sin(angle), turned[i], 1e-6);
                Assert.Equal(head[i + dim / 2] * Math.Cos(angle) + head[i] * Math.Sin(angle), turned[i + dim / 2], 1e-6);
            }
        }
    }

    [Fact]
    public void ATableThatGrewEqualsOneMadeAtOnce()
    {
        var grown = new RotaryEmbedding(64, 10_000, null);
        foreach (int length in (int[])[1, 5, 6, 40, 100])
            grown.Table(length);
        float[] whole = new RotaryEmbedding(64, 10_000, null).Table(100);
        Assert.Equal(whole.AsSpan(0, 6400).ToArray(), grown.Table(100).AsSpan(0, 6400).ToArray());
    }

    /// <summary>The published form of the rule speaks of wavelengths and has three cases.</summary>
    [Fact]
    public void Llama3ScalingFollowsTheThreeCasesOfTheRule()
    {
        const double Factor = 8, Low = 1, High = 4, Original = 8192, Theta = 500_000;
        const int Dim = 128;
        var rule = new Llama3RopeScaling(Factor, Low, High, (int)Original);
        ReadOnlySpan<double> scaled = new RotaryEmbedding(Dim, Theta, rule).Frequencies;
        var seen = new int[3];
        for (int i = 0; i < Dim / 2; i++)
        {
            double frequency = Math.Pow(Theta, -2.0 * i / Dim), wavelength = 2 * Math.PI / frequency;
            double expected;
            if (wavelength < Original / High)
            {
                expected = frequency;
                seen[0]++;
            }
            else if (wavelength > Original / Low)
            {
                expected = frequency / Factor;
                seen[1]++;
            }
            else
            {
                double smooth = (Original / wavelength - Low) / (High - Low);
                expected = (1 - smooth) * frequency / Factor + smooth * frequency;
                seen[2]++;
            }
            Assert.Equal(1, scaled[i] / expected, 1e-12);
        }
        Assert.All(seen, count => Assert.True(count > 0));
        // The edges of the rule.
        Assert.Equal(2 * Math.PI * Low / Original / Factor, rule.Apply(2 * Math.PI * Low / Original), 1e-15);
        Assert.Equal(2 * Math.PI * High / Original, rule.Apply(2 * Math.PI * High / Original), 1e-15);
    }
}
