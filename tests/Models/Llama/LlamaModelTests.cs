using AttnCompose.Cpu;

namespace AttnCompose.Models.Tests;

public sealed class LlamaModelTests : IDisposable
{
    private readonly CpuDevice _device = AttentionDevice.Cpu(1);
    private readonly TemporaryDirectory _directory = new();
    private readonly TinyModel _tiny = new(TinyModel.OddSizes, 3);

    public void Dispose()
    {
        _directory.Dispose();
        _device.Dispose();
    }

    [Fact]
    public void WeightsOfEveryFloatTypeGiveTheSameAnswer()
    {
        _tiny.Save(_directory["f32"], value => value);
        _tiny.Save(_directory["f16"], value => (Half)value);
        _tiny.Save(_directory["bf16"], value => (BFloat16)value);
        float[] expected = Logits("f32");
        Assert.Equal(expected, Logits("f16"));
        Assert.Equal(expected, Logits("bf16"));
    }

    [Fact]
    public void WhatOldFilesCarryInVainIsPassedOver()
    {
        _tiny.Save(_directory["plain"], value => value);
        _tiny.Save(
            _directory["old"], value => value,
            weights => weights.Add("model.layers.0.self_attn.rotary_emb.inv_freq", ([5], new float[5])));
        Assert.Equal(Logits("plain"), Logits("old"));
    }

    [Fact]
    public void MissingMisshapenAndUnexpectedWeightsAreNamed()
    {
        Assert.Contains(
            "'model.layers.2.mlp.up_proj.weight' is missing",
            Error(weights => weights.Remove("model.layers.2.mlp.up_proj.weight")));
        Assert.Contains(
            "must have shape [20, 22]",
            Error(weights => weights["model.layers.1.self_attn.k_proj.weight"] = ([22, 20], new float[440])));
        Assert.Contains("'lm_head.weight' is missing", Error(weights => weights.Remove("lm_head.weight")));
        Assert.Contains(
            "q_proj.bias F32 [60] has no place",
            Error(weights => weights.Add("model.layers.0.self_attn.q_proj.bias", ([60], new float[60]))));
    }

    [Fact]
    public void WeightsThatAreNotFloatsAreATypedError()
    {
        _tiny.Save(_directory["ints"], value => (int)value);
        using SafeTensorsFile file = SafeTensorsFile.Open(_directory["ints"]);
        Assert.Throws<SafeTensorsException>(() => LlamaModel.Load(_tiny.Config, file, _device));
    }

    [Fact]
    public void ADirectoryWithoutAModelIsATypedError() =>
        Assert.Throws<ModelFormatException>(() => LlamaModel.Load(_directory["nothing"], _device));

    private string Error(Action<Dictionary<string, (long[] Shape, float[] Data)>> change)
    {
        _tiny.Save(_directory["changed"], value => value, change);
        using SafeTensorsFile file = SafeTensorsFile.Open(_directory["changed"]);
        return Assert.Throws<ModelFormatException>(() => LlamaModel.Load(_tiny.Config, file, _device)).Message;
    }

    private float[] Logits(string name)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_directory[name]);
        using LlamaModel model = LlamaModel.Load(_tiny.Config, file, _device);
        using var session = new LlamaSession(model, 4);
        using var dense = new NaiveAttention(_device);
        session.Prefill([1, 2, 3], _ => dense);
        return [.. session.Logits];
    }
}
