using System.Numerics;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests.Rules;

/// <summary>Vectors of a rule against the scalar functions that they stand for.</summary>
public sealed class RuleLanesTests
{
    private static readonly float[] s_odd =
    [
        0, -0f, float.Epsilon, -float.Epsilon, 1e-20f, -1e-7f, 0.625f, 0.62499994f, -0.625f, 8, -9.5f, 88, 89, -104, 1e30f, float.MaxValue,
        float.PositiveInfinity, float.NegativeInfinity, float.NaN,
    ];

    [Fact]
    public void Tanh() => Check(RuleLanes.Tanh, MathF.Tanh, 20, 3);

    [Fact]
    public void Soft_cap() => Check(x => RuleLanes.SoftCap(x, Vector.Create(5f)), x => RuleMath.SoftCap(x, 5), 100, 5);

    // Not ours, but what docs/rules.md promises of them.
    [Fact]
    public void Exponential() => Check(Vector.Exp, MathF.Exp, 100, 4);

    [Fact]
    public void Logarithms()
    {
        Check(Vector.Log, MathF.Log, 1e6f, 4);
        Check(Vector.Log2, MathF.Log2, 1e6f, 4);
    }

    [Fact]
    public void A_cast_to_int_ends_at_the_ends_of_int()
    {
        float[] values = [.. s_odd, 2147483648f, -2147483648f, 3e9f, 1.9f, -1.9f];
        for (int i = 0; i < values.Length; i++)
            Assert.Equal(unchecked((int)values[i]), Vector.ConvertToInt32(Vector.Create(values[i]))[0]);
        // Not constants, of which the compiler would make what it likes.
        Assert.Equal((0, int.MaxValue), (unchecked((int)values[Array.FindIndex(values, float.IsNaN)]), unchecked((int)values[^3])));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(67)]
    public void A_segment_is_read_and_written_to_its_end_and_no_further(int length)
    {
        float[] memory = [.. Enumerable.Range(0, length + 40).Select(i => (float)i)];
        Span<float> segment = memory.AsSpan(20, length);
        for (int i = 0; i < length; i += Vector<float>.Count)
            RuleLanes.Store(RuleLanes.Load<float>(segment, i) + Vector.Create(0.5f), segment, i);
        for (int i = 0; i < memory.Length; i++)
            Assert.Equal(i >= 20 && i < 20 + length ? i + 0.5f : i, memory[i]);
    }

    [Fact]
    public void Keys_are_those_of_the_segment()
    {
        var neighbours = new ScoreSegment { Batch = 0, QueryHead = 0, KeyValueHead = 0, Query = 9, FirstKey = 5 };
        int[] positions = [2, 3, 7, 8, 11];
        var chosen = new ScoreSegment { Batch = 0, QueryHead = 0, KeyValueHead = 0, Query = 9, FirstKey = 2, Keys = positions };
        Assert.Equal(5 + 3 + 1, RuleLanes.Keys(in neighbours, 3)[1]);
        Assert.Equal(7, RuleLanes.Keys(in chosen, 0)[2]);
        Assert.Equal(11, RuleLanes.Keys(in chosen, 4)[0]);
    }

    private static void Check(Func<Vector<float>, Vector<float>> lanes, Func<float, float> scalar, float reach, int ulps)
    {
        var random = new Random(3);
        float[] values = [.. s_odd, .. Enumerable.Range(0, 200_000).Select(i => (random.NextSingle() * 2 - 1) * reach * MathF.Pow(10, -(i % 8)))];
        foreach (float x in values)
        {
            float expected = scalar(x), actual = lanes(Vector.Create(x))[0];
            bool close = expected.Equals(actual) || Math.Abs((long)Ordered(expected) - Ordered(actual)) <= ulps;
            Assert.True(close, $"f({x:R}) is {actual:R}, not {expected:R}");
        }

        static int Ordered(float value)
        {
            int bits = BitConverter.SingleToInt32Bits(value);
            return bits < 0 ? int.MinValue - bits : bits;
        }
    }
}
