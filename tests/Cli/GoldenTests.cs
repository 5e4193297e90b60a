using System.Globalization;
using AttnCompose.Models;
using AttnCompose.Testing;

namespace AttnCompose.Cli.Tests;

/// <summary>
/// <c>run</c> on one layer of a real model's prefill: queries, keys and values in bfloat16 with the answers of a reference
/// implementation, dense and at three coverages (Window 128, Pool 7, MinTokens 256).
/// </summary>
public sealed class GoldenTests : IDisposable
{
    private const int Heads = 4;
    private const int Length = 2044;
    private const int Dim = 128;

    private static readonly string Input = Golden("recall_layer4_2048");

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Dense_is_within_twice_the_error_of_a_bfloat16_reference()
    {
        using SafeTensorsFile golden = SafeTensorsFile.Open(Input);
        using SafeTensorsFile result = Run("dense-attention", "--emit", "lse");
        Assert.Equal("out F32 [1, 4, 2044, 128]", result.Header["out"].ToString());
        Assert.Equal("lse F32 [1, 4, 2044]", result.Header["lse"].ToString());
        float[] expected = Floats(golden, "dense");
        float[] rounded = Array.ConvertAll(expected, value => (float)(BFloat16)value);
        (double rootMean, double largest) = Error(result.Span<float>("out"), expected);
        (double roundedRootMean, double roundedLargest) = Error(rounded, expected);
        Assert.True(rootMean <= 2 * roundedRootMean, $"root mean square error {rootMean:g3}, rounding to bfloat16 costs {roundedRootMean:g3}");
        Assert.True(largest <= 2 * roundedLargest, $"largest error {largest:g3}, rounding to bfloat16 costs {roundedLargest:g3}");
    }

    [Theory]
    [InlineData(0.02)]
    [InlineData(0.1)]
    [InlineData(0.3)]
    public void Token_sparse_keeps_what_the_reference_keeps(double coverage)
    {
        string text = coverage.ToString(CultureInfo.InvariantCulture);
        using SafeTensorsFile golden = SafeTensorsFile.Open(Golden($"recall_layer4_2048_tau{text}"));
        using SafeTensorsFile result = Run(
            "token-sparse-prefill", "--set", $"Coverage={text}", "--set", "MinTokens=256", "--emit", "indices,scores,lse");
        bool[][] expected = Kept(golden, golden.Header["indices"].Shape);
        bool[][] actual = Kept(result, result.Header["indices"].Shape);
        ReadOnlySpan<int> counts = result.Span<int>("counts");
        float[] reference = Floats(golden, "sparse");
        ReadOnlySpan<float> output = result.Span<float>("out");
        ReadOnlySpan<float> lse = result.Span<float>("lse");
        Assert.Equal("scores F32 [1, 4, 1916]", result.Header["scores"].ToString());

        for (int head = 0; head < Heads; head++)
        {
            int expectedCount = expected[head].Count(kept => kept);
            int both = Enumerable.Range(0, Length).Count(i => expected[head][i] && actual[head][i]);
            Assert.Equal(actual[head].Count(kept => kept), counts[head]);
            Assert.InRange(counts[head], expectedCount - 2, expectedCount + 2);
            Assert.True(both >= 0.995 * expectedCount, $"head {head}: {both} of {expectedCount} indices are equal");
            for (int i = 0; i < Length; i++)
            {
                int row = head * Length + i;
                ReadOnlySpan<float> got = output.Slice(row * Dim, Dim);
                if (!actual[head][i])
                {
                    Assert.True(got.IndexOfAnyExcept(0f) < 0 && !AnyNegativeZero(got), $"head {head}, row {i} was not kept and is not +0");
                    Assert.Equal(float.NegativeInfinity, lse[row]);
                }
                else if (expected[head][i])
                {
                    double error = RelativeError(got, reference.AsSpan(row * Dim, Dim));
                    Assert.True(error < 1e-2, $"head {head}, row {i}: relative error {error:g3}");
                    Assert.True(float.IsFinite(lse[row]));
                }
            }
        }
    }

    private SafeTensorsFile Run(string pipeline, params string[] more)
    {
        string output = _folder.PathOf("out.safetensors");
        CliResult.Run(["run", "--pipeline", pipeline, "--input", Input, "--output", output, .. more]).Succeeded();
        Assert.Equal(["out.safetensors"], _folder.Files);
        return SafeTensorsFile.Open(output);
    }

    private static string Golden(string name) => Repository.PathOf($"tests/Pipelines/Golden/{name}.safetensors");

    private static float[] Floats(SafeTensorsFile file, string name)
    {
        var values = new float[file.Header[name].ElementCount];
        file.CopyAsFloat(name, 0, values);
        return values;
    }

    /// <summary>Which tokens each head keeps; checks that a head's indices ascend and that padding is -1 at the end.</summary>
    private static bool[][] Kept(SafeTensorsFile file, IReadOnlyList<long> shape)
    {
        Assert.Equal([1, Heads], shape.Take(2));
        int width = (int)shape[2];
        ReadOnlySpan<int> indices = file.Span<int>("indices");
        var kept = new bool[Heads][];
        for (int head = 0; head < Heads; head++)
        {
            kept[head] = new bool[Length];
            int last = -1;
            bool ended = false;
            foreach (int index in indices.Slice(head * width, width))
            {
                ended |= index == -1;
                Assert.True(ended ? index == -1 : index > last);
                if (!ended)
                    kept[head][last = index] = true;
            }
        }
        return kept;
    }

    private static (double RootMean, double Largest) Error(ReadOnlySpan<float> actual, float[] expected)
    {
        double sum = 0, largest = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            double error = Math.Abs((double)actual[i] - expected[i]);
            sum += error * error;
            largest = Math.Max(largest, double.IsNaN(error) ? double.PositiveInfinity : error);
        }
        return (Math.Sqrt(sum / expected.Length), largest);
    }

    private static double RelativeError(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected)
    {
        double error = 0, norm = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            double difference = (double)actual[i] - expected[i];
            error += difference * difference;
            norm += (double)expected[i] * expected[i];
        }
        return Math.Sqrt(error / norm);
    }

    private static bool AnyNegativeZero(ReadOnlySpan<float> values)
    {
        foreach (float value in values)
        {
            if (BitConverter.SingleToInt32Bits(value) != 0)
                return true;
        }
        return false;
    }
}
