using System.Text;

namespace AttnCompose.Models.Tests;

public sealed class LlamaConfigTests
{
    private const string Sizes = """
        {"model_type":"llama","vocab_size":32,"hidden_size":16,"num_hidden_layers":3,"num_attention_heads":4,
        "intermediate_size":24
        """;

    private const string Llama3 =
        """{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192}""";

    private static LlamaConfig Parse(string more) => LlamaConfig.Parse(Encoding.UTF8.GetBytes(Sizes + more + "}"));

    [Fact]
    public void WhatIsLeftOutHasTheUsualDefault()
    {
        LlamaConfig config = Parse("");
        Assert.Equal(
            (4, 4, 1e-6, 10_000.0, 2048),
            (config.KeyValueHeads, config.HeadDim, config.NormEpsilon, config.RopeTheta, config.MaxPositions));
        Assert.Null(config.RopeScaling);
        Assert.False(config.TiedEmbeddings);
        Assert.Empty(config.EndTokens);
    }

    [Fact]
    public void TheSampleModelIsRead()
    {
        LlamaConfig config = LlamaConfig.Load(Path.Combine(SampleModel.Directory, "config.json"));
        Assert.Equal((448, 256, 8, 4, 2, 128, 640), (config.VocabularySize, config.HiddenSize, config.Layers, config.QueryHeads,
            config.KeyValueHeads, config.HeadDim, config.IntermediateSize));
        Assert.Equal(
            (1e-5, 500_000.0, true, 32768),
            (config.NormEpsilon, config.RopeTheta, config.TiedEmbeddings, config.MaxPositions));
        Assert.Equal([2], config.EndTokens);
    }

    [Theory]
    [InlineData(""","rope_theta":5000.0,"rope_scaling":null""", 5000, false)]
    [InlineData(""","rope_theta":5000.0,"rope_scaling":{"rope_type":"default"}""", 5000, false)]
    [InlineData(""","rope_theta":5000.0,"rope_scaling":{"type":"default"}""", 5000, false)]
    [InlineData(""","rope_theta":5000.0,"rope_scaling":""" + Llama3, 5000, true)]
    [InlineData(""","rope_parameters":{"rope_theta":7000,"rope_type":"default"}""", 7000, false)]
    [InlineData(""","rope_theta":5000.0,"rope_parameters":{"rope_theta":7000,"rope_type":"default"}""", 7000, false)]
    [InlineData(""","rope_theta":5000.0,"rope_parameters":""" + Llama3, 5000, true)]
    public void RopeIsFoundInItsOldAndItsNewPlace(string more, double theta, bool scaled)
    {
        LlamaConfig config = Parse(more);
        Assert.Equal(theta, config.RopeTheta);
        Assert.Equal(scaled ? new Llama3RopeScaling(8, 1, 4, 8192) : null, config.RopeScaling);
    }

    [Fact]
    public void EndTokensMayBeAList() => Assert.Equal([3, 5], Parse(""","eos_token_id":[3,5]""").EndTokens);

    [Fact]
    public void HeadDimNeedNotDivideTheHiddenSize() =>
        Assert.Equal(10, Parse(""","head_dim":10,"num_key_value_heads":2""").HeadDim);

    [Theory]
    [InlineData(""","attention_bias":true""", "attention_bias")]
    [InlineData(""","mlp_bias":true""", "mlp_bias")]
    [InlineData(""","mlp_bias":1""", "true or false")]
    [InlineData(""","hidden_act":"gelu" """, "'hidden_act' is gelu")]
    [InlineData(""","quantization_config":{}""", "quantization_config")]
    [InlineData(""","sliding_window":4096""", "sliding_window")]
    [InlineData(""","num_key_value_heads":3""", "not a multiple")]
    [InlineData(""","num_key_value_heads":0""", "an integer from 1")]
    [InlineData(""","head_dim":5""", "an even one")]
    [InlineData(""","head_dim":"x" """, "an integer from 2")]
    [InlineData(""","head_dim":99999998""", "beyond what is supported")]
    [InlineData(""","rope_theta":0""", "a positive number")]
    [InlineData(""","rms_norm_eps":"x" """, "a positive number")]
    [InlineData(""","rope_scaling":{"rope_type":"yarn","factor":4}""", "'rope_type' is yarn")]
    [InlineData(""","rope_scaling":{"rope_type":"llama3","factor":4}""", "lacks 'low_freq_factor'")]
    [InlineData(
        ""","rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":8}""",
        "must be above")]
    [InlineData(""","rope_scaling":[1]""", "an object is needed")]
    [InlineData(""","rope_parameters":{"full_attention":{"rope_theta":1}}""", "differ by kind of layer")]
    [InlineData(""","partial_rotary_factor":0.5""", "partial_rotary_factor")]
    [InlineData(""","eos_token_id":["a"]""", "integers are needed")]
    [InlineData(""","eos_token_id":1.5""", "'eos_token_id'")]
    [InlineData(""","vocab_size":32""", "not valid JSON")]
    public void WhatIsNotSupportedIsRefusedByName(string more, string says)
    {
        var exception = Assert.Throws<ModelFormatException>(() => Parse(more));
        Assert.StartsWith("config.json: ", exception.Message);
        Assert.Contains(says, exception.Message);
    }

    [Fact]
    public void OtherModelsAndMissingSizesAreRefused()
    {
        Assert.Contains("'model_type' is qwen2", Error("""{"model_type":"qwen2"}"""));
        Assert.Contains("'model_type' is missing", Error("{}"));
        Assert.Contains("'num_attention_heads' is missing", Error("""{"model_type":"llama"}"""));
        var missing = Assert.Throws<ModelFormatException>(() => LlamaConfig.Load("nowhere/config.json"));
        Assert.Contains("no such file", missing.Message);

        static string Error(string json) =>
            Assert.Throws<ModelFormatException>(() => LlamaConfig.Parse(Encoding.UTF8.GetBytes(json))).Message;
    }
}
