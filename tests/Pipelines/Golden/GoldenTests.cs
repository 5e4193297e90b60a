using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>
/// Layer 4 of the recall model on a real prompt of 2044 tokens: query, key and value in bfloat16, and what float64
/// arithmetic makes of them (dense and sparse outputs stored as float16, pooled scores as float32).
/// </summary>
public sealed class GoldenTests : IDisposable
{
    private const int Heads = 4, KeyValueHeads = 2, Length = 2044, HeadDim = 128, Prefix = Length - 128;

    private readonly CpuDevice _device = AttentionDevice.Cpu(2);
    private readonly GoldenFile _layer = new("recall_layer4_2048.safetensors");

    [Fact]
    public void DenseOutputAgrees()
    {
        using var pipeline = new StagePipeline<NoScoreHook>(
            _device, AttentionMask.Causal, null, new FlashAttentionAttribute(), default);
        (float[] output, _) = Run(pipeline);
        float[] golden = Halves(_layer.Read("dense"));
        for (int i = 0; i < golden.Length; i++)
            AssertClose(golden[i], output[i], i);
    }

    [Theory]
    [InlineData("0.02", 1983)]
    [InlineData("0.1", 1761)]
    [InlineData("0.3", 1267)]
    public void SparseSelectionAndOutputAgree(string coverage, int count)
    {
        using var pipeline = new StagePipeline<NoScoreHook>(
            _device, AttentionMask.Causal,
            new TokenCoverageAttribute
            {
                Coverage = double.Parse(coverage, System.Globalization.CultureInfo.InvariantCulture),
                Window = 128, Pool = 7, MinTokens = 256,
            },
            new FlashAttentionAttribute(), default);
        (float[] output, TokenSelection selection) = Run(pipeline);
        var file = new GoldenFile($"recall_layer4_2048_tau{coverage}.safetensors");
        int[] indices = MemoryMarshal.Cast<byte, int>(file.Read("indices")).ToArray();
        float[] scores = MemoryMarshal.Cast<byte, float>(_layer.Read("scores")).ToArray();
        float[] golden = Halves(file.Read("sparse"));
        for (int head = 0; head < Heads; head++)
        {
            int[] expected = indices[(head * count)..((head + 1) * count)];
            Assert.Equal(expected, selection.Positions(0, head).ToArray());
            for (int t = 0; t < Prefix; t++)
                Assert.Equal(scores[head * Prefix + t], selection.Scores(0, head)[t], 2e-5f * scores[head * Prefix + t]);

            var kept = new bool[Length];
            foreach (int position in expected)
                kept[position] = true;
            for (int i = head * Length * HeadDim; i < (head + 1) * Length * HeadDim; i++)
            {
                if (kept[i / HeadDim % Length])
                    AssertClose(golden[i], output[i], i);
                else
                    Assert.Equal(0, BitConverter.SingleToInt32Bits(output[i]));
            }
        }
    }

    public void Dispose() => _device.Dispose();

    private (float[] Output, TokenSelection Selection) Run(IAttentionPipeline pipeline)
    {
        var output = new float[Heads * Length * HeadDim];
        var selection = new TokenSelection { WantsScores = true };
        pipeline.Run(new AttentionArguments<BFloat16, float>
        {
            Query = View("q", Heads), Key = View("k", KeyValueHeads), Value = View("v", KeyValueHeads),
            Output = AttentionTensor.FromBhld(output.AsSpan(), 1, Heads, Length, HeadDim),
            Selection = selection,
        });
        return (output, selection);

        System.Numerics.Tensors.ReadOnlyTensorSpan<BFloat16> View(string name, int heads) =>
            AttentionTensor.FromBhld(MemoryMarshal.Cast<byte, BFloat16>(_layer.Read(name)), 1, heads, Length, HeadDim);
    }

    // What is stored was rounded to float16: half an ulp is 2^-11 of the value.
    private static void AssertClose(float golden, float actual, int element)
    {
        if (!(MathF.Abs(actual - golden) <= 1e-3f * MathF.Abs(golden) + 1e-5f))
            Assert.Fail($"Element {element} is {actual}, golden {golden}.");
    }

    private static float[] Halves(ReadOnlySpan<byte> bytes) =>
        [.. MemoryMarshal.Cast<byte, Half>(bytes).ToArray().Select(half => (float)half)];

    /// <summary>A trusted safetensors file.</summary>
    private sealed class GoldenFile(string name)
    {
        private readonly byte[] _bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Golden", name));

        public ReadOnlySpan<byte> Read(string tensor)
        {
            int header = (int)BinaryPrimitives.ReadInt64LittleEndian(_bytes);
            using JsonDocument json = JsonDocument.Parse(_bytes.AsMemory(8, header));
            JsonElement offsets = json.RootElement.GetProperty(tensor).GetProperty("data_offsets");
            return _bytes.AsSpan((8 + header + offsets[0].GetInt32())..(8 + header + offsets[1].GetInt32()));
        }
    }
}
