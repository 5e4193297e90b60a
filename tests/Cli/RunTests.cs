using AttnCompose.Models;

namespace AttnCompose.Cli.Tests;

/// <summary>What <c>run</c> writes, against plain loops in double.</summary>
public sealed class RunTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("f32")]
    [InlineData("f16")]
    [InlineData("bf16")]
    public void Every_element_type_is_read_and_the_output_is_float32(string type)
    {
        long[] q = [2, 4, 21, 40];
        long[] k = [2, 2, 33, 40];
        string input = type switch
        {
            "f32" => Inputs.Write(_folder, q, k, k, value => value),
            "f16" => Inputs.Write(_folder, q, k, k, value => (Half)value),
            _ => Inputs.Write(_folder, q, k, k, value => (BFloat16)value),
        };
        using SafeTensorsFile file = SafeTensorsFile.Open(input);
        using SafeTensorsFile result = Run("dense-attention", input, "--emit", "lse");
        Assert.Equal(["lse", "out"], result.Header.Tensors.Select(tensor => tensor.Name).Order());
        Assert.Equal("out F32 [2, 4, 21, 40]", result.Header["out"].ToString());
        (float[] expected, float[] lse) = Oracle(file);
        AssertClose(expected, result.Span<float>("out"));
        AssertClose(lse, result.Span<float>("lse"));
    }

    [Fact]
    public void Indices_are_padded_and_counted_and_dropped_rows_are_zero()
    {
        string input = Inputs.Write(_folder, [1, 2, 500, 32], [1, 1, 500, 32], [1, 1, 500, 32], value => value * 4);
        using SafeTensorsFile result = Run(
            "token-sparse-prefill", input, "--set", "Coverage=0.4", "--set", "MinTokens=0", "--emit", "indices, scores", "--emit", "lse");
        Assert.Equal(["counts", "indices", "lse", "out", "scores"], result.Header.Tensors.Select(tensor => tensor.Name).Order());
        Assert.Equal("counts I32 [1, 2]", result.Header["counts"].ToString());
        Assert.Equal("scores F32 [1, 2, 372]", result.Header["scores"].ToString());
        ReadOnlySpan<int> counts = result.Span<int>("counts");
        int width = (int)result.Header["indices"].Shape[2];
        Assert.Equal(Math.Max(counts[0], counts[1]), width);
        Assert.InRange(width, 129, 499);
        Assert.DoesNotContain(-1, result.Span<int>("indices")[..counts[0]].ToArray());
        ReadOnlySpan<float> output = result.Span<float>("out");
        int zeroRows = 0;
        for (int row = 0; row < 2 * 500; row++)
            zeroRows += output.Slice(row * 32, 32).IndexOfAnyExcept(0f) < 0 ? 1 : 0;
        Assert.Equal(1000 - counts[0] - counts[1], zeroRows);
    }

    [Fact]
    public void Tensors_that_a_stage_takes_are_read_from_the_input()
    {
        const int Heads = 2, Dim = 16, Gate = 128;
        long[] shape = [1, Heads, 300, Dim];
        string without = Inputs.Write(_folder, shape, shape, shape, value => value);
        CliResult refused = CliResult.Run(
            "run", "--pipeline", "gate-weights", "--input", without, "--output", _folder.PathOf("none.safetensors"));
        Assert.Equal(1, refused.Code);
        Assert.Contains("gate-weights takes the tensor query_gate, F32 [2, 16, 128]; there is none.", refused.Error);
        Assert.Single(refused.Error.Trim().Split('\n'));

        string with = _folder.PathOf("with.safetensors");
        using (SafeTensorsFile file = SafeTensorsFile.Open(without))
        {
            var writer = new SafeTensorsWriter();
            foreach (string name in (string[])["q", "k", "v"])
                writer.Add<float>(name, shape, file.Span<float>(name).ToArray());
            writer.Add<float>("query_gate", [Heads, Dim, Gate], new float[Heads * Dim * Gate]);
            writer.Add<float>("key_gate", [Heads, 3, Dim, Gate], new float[Heads * 3 * Dim * Gate]);
            writer.Save(with);
        }
        // A gate of nothing gives each of three blocks a third of the softmax.
        using SafeTensorsFile all = Run("gate-weights", with, "--set", "Threshold=0.33");
        using SafeTensorsFile dense = Run("dense-attention", without);
        Assert.Equal(dense.Span<float>("out"), all.Span<float>("out"));
        using SafeTensorsFile some = Run("gate-weights", with, "--set", "Threshold=0.34");
        Assert.NotEqual(dense.Span<float>("out").ToArray(), some.Span<float>("out").ToArray());
    }

    [Theory]
    [InlineData("eval", "--model", "m", "--prompts", "p.jsonl")]
    [InlineData("compare", "--length", "256")]
    public void A_command_that_has_none_refuses_pipelines_whose_stages_take_tensors(string command, params string[] rest)
    {
        CliResult result = CliResult.Run([command, "--pipeline", "token-sparse-gate-weights", .. rest]);
        Assert.Equal(2, result.Code);
        Assert.Contains($"token-sparse-gate-weights takes query_gate, key_gate from its caller, and {command} has none to give.", result.Error);
    }

    [Fact]
    public void A_prompt_that_is_short_is_kept_whole()
    {
        string input = Inputs.WriteFloat(_folder);
        using SafeTensorsFile sparse = Run("token-sparse-prefill", input, "--set", "Coverage=0.9", "--emit", "indices");
        Assert.Equal([0, 1, 2, 3, 4, 0, 1, 2, 3, 4], sparse.Span<int>("indices").ToArray());
        Assert.Equal([5, 5], sparse.Span<int>("counts").ToArray());
        using SafeTensorsFile dense = Run("dense-attention", input);
        AssertClose(dense.Span<float>("out").ToArray(), sparse.Span<float>("out"));
    }

    [Theory]
    [InlineData("0/10", 285)]
    [InlineData("9/10", 128)] // its 15 tokens are fewer than the window
    [InlineData("0/1", 150)]
    public void The_layer_decides_where_depth_does(string layer, int kept)
    {
        string input = Inputs.Write(_folder, [1, 2, 300, 16], [1, 1, 300, 16], [1, 1, 300, 16], value => value);
        using SafeTensorsFile result = Run(
            "token-sparse-pyramid", input, "--set", "Count=150", "--set", "Beta=10", "--layer", layer, "--emit", "indices");
        Assert.Equal([kept, kept], result.Span<int>("counts").ToArray());
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 7)]
    [InlineData(1, 1)]
    public void A_sequence_of_length_zero_or_one_is_answered(int queries, int keys)
    {
        string input = Inputs.Write(_folder, [1, 2, queries, 16], [1, 1, keys, 16], [1, 1, keys, 16], value => value);
        foreach (string pipeline in (string[])["dense-attention", "token-sparse-prefill"])
        {
            using SafeTensorsFile result = Run(pipeline, input, "--emit", "lse");
            Assert.Equal([1, 2, queries, 16], result.Header["out"].Shape);
            Assert.Equal([1, 2, queries], result.Header["lse"].Shape);
            if (queries == 1)
            {
                using SafeTensorsFile file = SafeTensorsFile.Open(input);
                float[] value = file.Span<float>("v").ToArray();
                AssertClose([.. value, .. value], result.Span<float>("out"));
            }
        }
    }

    [Fact]
    public void The_summary_names_the_pipeline_the_device_and_what_was_written()
    {
        string input = Inputs.WriteFloat(_folder);
        string output = _folder.PathOf("out.safetensors");
        string[] lines = CliResult.Run("run", "--pipeline", "dense-attention", "--input", input, "--output", output, "--emit", "lse")
            .Succeeded().Output.TrimEnd('\n').Split('\n');
        Assert.Equal(2, lines.Length);
        Assert.StartsWith("dense-attention on cpu (", lines[0]);
        Assert.Equal($"wrote out, lse to {output}", lines[1]);
    }

    private SafeTensorsFile Run(string pipeline, string input, params string[] more)
    {
        string output = _folder.PathOf($"{pipeline}.safetensors");
        CliResult.Run(["run", "--pipeline", pipeline, "--input", input, "--output", output, .. more]).Succeeded();
        return SafeTensorsFile.Open(output);
    }

    private static void AssertClose(float[] expected, ReadOnlySpan<float> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) < 1e-5, $"element {i} is {actual[i]}, expected {expected[i]}");
    }

    private static (float[] Output, float[] LogSumExp) Oracle(SafeTensorsFile file)
    {
        float[] q = Floats("q"), k = Floats("k"), v = Floats("v");
        int[] shape = [.. file.Header["q"].Shape.Select(size => (int)size)];
        (int batch, int heads, int queries, int dim) = (shape[0], shape[1], shape[2], shape[3]);
        (int kvHeads, int keys) = ((int)file.Header["k"].Shape[1], (int)file.Header["k"].Shape[2]);
        var output = new float[q.Length];
        var lse = new float[batch * heads * queries];
        for (int row = 0; row < lse.Length; row++)
        {
            int query = row % queries, head = row / queries % heads, b = row / queries / heads;
            int first = (b * kvHeads + head / (heads / kvHeads)) * keys * dim;
            double[] weights = [.. Enumerable.Range(0, query + keys - queries + 1).Select(key =>
                Math.Exp(Enumerable.Range(0, dim).Sum(d => (double)q[row * dim + d] * k[first + key * dim + d]) / Math.Sqrt(dim)))];
            lse[row] = (float)Math.Log(weights.Sum());
            for (int d = 0; d < dim; d++)
                output[row * dim + d] = (float)(weights.Select((weight, key) => weight * v[first + key * dim + d]).Sum() / weights.Sum());
        }
        return (output, lse);

        float[] Floats(string name)
        {
            var values = new float[file.Header[name].ElementCount];
            file.CopyAsFloat(name, 0, values);
            return values;
        }
    }
}
