using System.Text;

namespace AttnCompose.Models.Tests;

public sealed class WordLevelTokenizerTests
{
    private const string Added = """
        {"id":0,"content":"<bos>","normalized":false,"special":true},
        {"id":5,"content":"New York","normalized":true,"special":false}
        """;

    private static string Json(
        string normalizer = """{"type":"Lowercase"}""", string pre = """{"type":"WhitespaceSplit"}""", string? kind = "WordLevel",
        string added = Added,
        string vocab = """{"<bos>":0,"<unk>":1,"the":2,"café":3,"<":4}""", string unknown = "<unk>", string more = "") =>
        $$"""
        {"version":"1.0",{{more}} "added_tokens":[{{added}}],"normalizer":{{normalizer}},"pre_tokenizer":{{pre}},
        "model":{ {{(kind is null ? "" : $"\"type\":\"{kind}\",")}} "vocab":{{vocab}},"unk_token":"{{unknown}}" } }
        """;

    private static WordLevelTokenizer Parse(string json) => WordLevelTokenizer.Parse(Encoding.UTF8.GetBytes(json));

    [Theory]
    [InlineData("the THE  \t\nCafÉ", new[] { 2, 2, 3 })]
    [InlineData("", new int[0])]
    [InlineData(" \u00a0\u2003 ", new int[0])]
    [InlineData("the\u2028the\u3000the", new[] { 2, 2, 2 })]
    [InlineData("<bos>the<bos>", new[] { 0, 2, 0 })]
    [InlineData("the< <bos", new[] { 1, 1 })]
    [InlineData("< other", new[] { 4, 1 })]
    [InlineData("<BOS>", new[] { 0 })] // not the added token, but lowercased a word of the vocabulary
    [InlineData("the new york the NEW YORK", new[] { 2, 5, 2, 5 })]
    [InlineData("new  york", new[] { 1, 1 })]
    public void WordsAndAddedTokens(string text, int[] expected) => Assert.Equal(expected, Parse(Json()).Encode(text));

    [Fact]
    public void WithoutNormalizerCaseMatters() =>
        Assert.Equal([2, 1], Parse(Json(normalizer: "null", added: "")).Encode("the The"));

    [Fact]
    public void LowercaseOfADottedCapitalIHasTwoCodePoints()
    {
        WordLevelTokenizer tokenizer = Parse(Json(added: "", vocab: """{"<unk>":0,"i̇x":1}"""));
        Assert.Equal([1], tokenizer.Encode("\u0130X"));
    }

    [Fact]
    public void TheLongerAddedTokenWins()
    {
        const string Two = """{"id":6,"content":"<a","normalized":false},{"id":7,"content":"<ab>","normalized":false}""";
        WordLevelTokenizer tokenizer = Parse(Json(added: Two));
        Assert.Equal([7, 6], tokenizer.Encode("<ab><a"));
        Assert.Equal(7, tokenizer.IdOf("<ab>"));
        Assert.Null(tokenizer.IdOf("absent"));
    }

    [Fact]
    public void DecodingJoinsWithSpacesAndLeavesSpecialTokensOut()
    {
        WordLevelTokenizer tokenizer = Parse(Json());
        Assert.Equal("the café New York", tokenizer.Decode([0, 2, 3, 5]));
        Assert.Equal("<bos> the", tokenizer.Decode([0, 2], skipSpecial: false));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([99]));
    }

    [Fact]
    public void EveryPromptOfTheSampleComesBackWordForWord()
    {
        WordLevelTokenizer tokenizer = WordLevelTokenizer.Load(Path.Combine(SampleModel.Directory, "tokenizer.json"));
        foreach (EvaluationPrompt prompt in EvaluationPrompt.Read(SampleModel.Prompts(2048)))
        {
            int[] tokens = tokenizer.Encode(prompt.Prompt);
            Assert.Equal(prompt.Tokens, tokens.Length);
            Assert.DoesNotContain(tokenizer.UnknownId, tokens);
            Assert.Equal(prompt.Prompt, tokenizer.Decode(tokens, skipSpecial: false));
        }
    }

    public static TheoryData<string, string> Refused => new()
    {
        { Json(normalizer: """{"type":"NFC"}"""), "'normalizer' is of kind NFC" },
        { Json(normalizer: """{"type":"Sequence","normalizers":[]}"""), "Sequence" },
        { Json(normalizer: "{}"), "'normalizer' has no 'type'" },
        { Json(pre: """{"type":"ByteLevel"}"""), "'pre_tokenizer' is of kind ByteLevel" },
        { Json(pre: "null"), "'pre_tokenizer' is of kind null" },
        { Json(kind: "BPE"), "'model' is of kind BPE" },
        { Json(kind: null), "'model' has no 'type'" },
        { Json(more: "\"truncation\":{\"max_length\":5},"), "'truncation'" },
        { Json(more: "\"padding\":{},"), "'padding'" },
        { Json(more: "\"post_processor\":{\"type\":\"TemplateProcessing\"},"), "'post_processor'" },
        { Json(more: "\"decoder\":{\"type\":\"ByteLevel\"},"), "'decoder'" },
        { Json(unknown: "[UNK]"), "'[UNK]' is not in model.vocab" },
        { Json(vocab: "[]"), "model.vocab is not an object" },
        { Json(vocab: """{"<unk>":1.5}"""), "an id from 0" },
        { Json(vocab: """{"<unk>":-1}"""), "an id from 0" },
        { Json(vocab: """{"<unk>":1,"a":1}"""), "another word has" },
        { Json(vocab: """{"<unk>":1,"<unk>":2}"""), "not valid JSON" },
        { Json(added: """{"id":0,"content":"x"}"""), "contradicts" },
        { Json(added: """{"id":9,"content":"the"}"""), "contradicts" },
        { Json(added: """{"id":9,"content":""}"""), "no content" },
        { Json(added: """{"content":"x"}"""), "no id" },
        { Json(added: """{"id":9,"content":"x","single_word":true}"""), "single_word" },
        { Json(added: """{"id":9,"content":"\ud800"}"""), "not valid JSON" },
        { Json(added: "3"), "Added token '' has no id" },
        { "[]", "is not a JSON object" },
        { "{", "not valid JSON" },
        { """{"pre_tokenizer":{"type":"WhitespaceSplit"},"model":3}""", "'model' has no 'type'" },
        { """{"pre_tokenizer":{"type":"WhitespaceSplit"}}""", "'model' is of kind null" },
        { "{}", "'pre_tokenizer' is of kind null" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void WhatIsNotSupportedIsRefusedByName(string json, string says)
    {
        var exception = Assert.Throws<ModelFormatException>(() => Parse(json));
        Assert.Contains(says, exception.Message);
    }
}
