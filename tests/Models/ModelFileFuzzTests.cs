using System.Text;

namespace AttnCompose.Models.Tests;

/// <summary>Mutated configurations, tokenizers and prompts: whatever they hold, only the typed error may escape.</summary>
public sealed class ModelFileFuzzTests
{
    private const string Config = """
        {"model_type":"llama","vocab_size":32,"hidden_size":16,"num_hidden_layers":3,"num_attention_heads":4,
        "intermediate_size":24,"head_dim":8,"rope_theta":1e4,"eos_token_id":[1,2],"rope_scaling":{"rope_type":"llama3",
        "factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}}
        """;

    private const string Tokenizer = """
        {"added_tokens":[{"id":0,"content":"<bos>","normalized":false,"special":true}],
        "normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"WhitespaceSplit"},
        "model":{"type":"WordLevel","vocab":{"<bos>":0,"<unk>":1,"the":2},"unk_token":"<unk>"}}
        """;

    private static readonly string[] Fragments =
        ["-1", "1e99", "null", "[]", "{}", "\"\"", "\"\\udc00\"", "true", "2147483648", "[[[[", "0.5", ",", ":"];

    [Theory]
    [InlineData(Config)]
    [InlineData(Tokenizer)]
    public void OnlyTheTypedErrorEscapes(string valid)
    {
        int parsed = 0;
        for (int seed = 0; seed < 20_000; seed++)
        {
            byte[] json = Mutated(valid, seed);
            try
            {
                if (valid == Config)
                    Assert.True(LlamaConfig.Parse(json).HeadDim >= 2);
                else
                    WordLevelTokenizer.Parse(json).Encode("the <bos> \ud800 end");
                parsed++;
            }
            catch (ModelFormatException)
            {
            }
            catch (Exception exception)
            {
                Assert.Fail($"Replay with Mutated(..., {seed}): {exception}");
            }
        }
        Assert.InRange(parsed, 100, 19_000);
    }

    private static byte[] Mutated(string valid, int seed)
    {
        var random = new Random(seed);
        List<byte> json = [.. Encoding.UTF8.GetBytes(valid)];
        for (int round = random.Next(1, 4); round > 0; round--)
        {
            int at = random.Next(json.Count);
            switch (random.Next(4))
            {
                case 0:
                    json[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    json.RemoveRange(at, Math.Min(random.Next(1, 9), json.Count - at));
                    break;
                case 2: // a value, replaced
                    int colon = json.IndexOf((byte)':', at);
                    int end = colon < 0 ? -1 : json.FindIndex(colon, value => value is (byte)',' or (byte)'}' or (byte)']');
                    if (end < 0)
                        break;
                    json.RemoveRange(colon + 1, end - colon - 1);
                    json.InsertRange(colon + 1, Encoding.UTF8.GetBytes(Fragments[random.Next(Fragments.Length)]));
                    break;
                default:
                    json.InsertRange(at, json.GetRange(at, Math.Min(random.Next(1, 40), json.Count - at)));
                    break;
            }
            if (json.Count == 0)
                json.Add((byte)'{');
        }
        return [.. json];
    }
}
