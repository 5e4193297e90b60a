using System.Text;
using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>
/// A tokenizer of <c>tokenizer.json</c>'s WordLevel kind: added tokens are cut out of the text first, the rest is lowercased
/// where the file asks for it, split on white space, and each word looked up. What else such a file can ask for is refused,
/// not ignored.
/// </summary>
public sealed class WordLevelTokenizer
{
    private readonly Dictionary<string, int> _ids;
    private readonly Dictionary<int, string> _words;
    private readonly HashSet<int> _special;
    private readonly (string Text, int Id)[] _rawAdded;
    private readonly (string Text, int Id)[] _normalizedAdded;
    private readonly bool _lowercase;

    private WordLevelTokenizer(Dictionary<string, int> ids, IReadOnlyList<AddedToken> added, string unknown, bool lowercase)
    {
        _ids = ids;
        _lowercase = lowercase;
        UnknownToken = unknown;
        _words = ids.ToDictionary(entry => entry.Value, entry => entry.Key);
        foreach (AddedToken token in added)
            _words[token.Id] = token.Content;
        _special = [.. added.Where(token => token.Special).Select(token => token.Id)];
        // Longest first: where two begin at one place, the longer one is meant.
        _rawAdded = [.. added.Where(token => !token.Normalized)
            .OrderByDescending(token => token.Content.Length).Select(token => (token.Content, token.Id))];
        _normalizedAdded = [.. added.Where(token => token.Normalized)
            .OrderByDescending(token => token.Content.Length).Select(token => (Normalize(token.Content), token.Id))];
        UnknownId = ids[unknown];
    }

    /// <summary>Entries, added tokens included.</summary>
    public int Count => _words.Count;

    /// <summary>Largest token id.</summary>
    public int LargestId => _words.Keys.Max();

    /// <summary>The token that stands for words that the vocabulary lacks.</summary>
    public string UnknownToken { get; }

    /// <summary>Id of <see cref="UnknownToken"/>.</summary>
    public int UnknownId { get; }

    /// <summary>Reads a <c>tokenizer.json</c>.</summary>
    /// <exception cref="ModelFormatException">The file is malformed, or of a kind other than WordLevel.</exception>
    public static WordLevelTokenizer Load(string path) => JsonFile.Read(path, FromJson);

    /// <summary>Parses the text of a <c>tokenizer.json</c>.</summary>
    /// <exception cref="ModelFormatException">The text is malformed, or of a kind other than WordLevel.</exception>
    public static WordLevelTokenizer Parse(ReadOnlyMemory<byte> json) => JsonFile.Parse(json, "tokenizer.json", FromJson);

    /// <summary>The id of a token, or null.</summary>
    public int? IdOf(string token)
    {
        foreach ((string text, int id) in _rawAdded)
        {
            if (text == token)
                return id;
        }
        return _ids.TryGetValue(token, out int word) ? word : null;
    }

    /// <summary>The tokens of a text.</summary>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var result = new List<int>();
        Split(text, _rawAdded, result, (raw, tokens) => Split(Normalize(raw), _normalizedAdded, tokens, AddWords));
        return [.. result];
    }

    /// <summary>The text of some tokens, joined by single spaces.</summary>
    /// <param name="tokens">Token ids.</param>
    /// <param name="skipSpecial">Whether to leave out special tokens.</param>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = true)
    {
        var text = new StringBuilder();
        foreach (int token in tokens)
        {
            if (!_words.TryGetValue(token, out string? word))
                throw new ArgumentOutOfRangeException(nameof(tokens), $"Token {token} is not in the vocabulary.");
            if (skipSpecial && _special.Contains(token))
                continue;
            if (text.Length > 0)
                text.Append(' ');
            text.Append(word);
        }
        return text.ToString();
    }

    private static void Split(string text, (string Text, int Id)[] added, List<int> result, Action<string, List<int>> rest)
    {
        int begin = 0;
        int at = 0;
        while (added.Length > 0 && at < text.Length)
        {
            int hit = Array.FindIndex(added, token => string.CompareOrdinal(text, at, token.Text, 0, token.Text.Length) == 0);
            if (hit < 0)
            {
                at++;
                continue;
            }
            rest(text[begin..at], result);
            result.Add(added[hit].Id);
            begin = at += added[hit].Text.Length;
        }
        rest(text[begin..], result);
    }

    private void AddWords(string text, List<int> result)
    {
        int at = 0;
        while (at < text.Length)
        {
            if (char.IsWhiteSpace(text[at]))
            {
                at++;
                continue;
            }
            int begin = at;
            while (at < text.Length && !char.IsWhiteSpace(text[at]))
                at++;
            result.Add(_ids.TryGetValue(text[begin..at], out int id) ? id : UnknownId);
        }
    }

    // The one code point whose lowercase form is longer than itself, which .NET's simple mapping cannot express.
    private string Normalize(string text) => _lowercase ? text.Replace("\u0130", "i\u0307").ToLowerInvariant() : text;

    private static WordLevelTokenizer FromJson(JsonElement root)
    {
        foreach (string absent in (ReadOnlySpan<string>)["truncation", "padding", "post_processor", "decoder"])
        {
            if (root.Member(absent) is { } value)
                throw new ModelFormatException($"'{absent}' is {JsonFile.Short(value)}; only null is supported.");
        }
        bool lowercase = Kind(root.Member("normalizer"), "normalizer", null, "Lowercase") is not null;
        Kind(root.Member("pre_tokenizer"), "pre_tokenizer", "WhitespaceSplit");
        JsonElement? model = root.Member("model");
        Kind(model, "model", "WordLevel");

        Dictionary<string, int> ids = ReadVocabulary(model!.Value);
        string unknown = model.Value.Text("unk_token") ?? throw new ModelFormatException("model.unk_token is missing.");
        if (!ids.ContainsKey(unknown))
            throw new ModelFormatException($"model.unk_token '{unknown}' is not in model.vocab.");
        return new WordLevelTokenizer(ids, ReadAdded(root, ids), unknown, lowercase);
    }

    private static string? Kind(JsonElement? element, string name, params ReadOnlySpan<string?> supported)
    {
        string? kind = element is { } value
            ? value.Text("type") ?? throw new ModelFormatException($"'{name}' has no 'type'.")
            : null;
        if (!supported.Contains(kind))
        {
            throw new ModelFormatException(
                $"'{name}' is of kind {kind ?? "null"}; supported: "
                + $"{string.Join(", ", supported.ToArray().Select(entry => entry ?? "null"))}.");
        }
        return kind;
    }

    private static Dictionary<string, int> ReadVocabulary(JsonElement model)
    {
        if (model.Member("vocab") is not { ValueKind: JsonValueKind.Object } vocab)
            throw new ModelFormatException("model.vocab is not an object.");
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        var used = new HashSet<int>();
        foreach (JsonProperty entry in vocab.EnumerateObject())
        {
            if (entry.Value.ValueKind != JsonValueKind.Number || !entry.Value.TryGetInt32(out int id) || id < 0)
            {
                throw new ModelFormatException(
                    $"model.vocab['{entry.Name}'] is {JsonFile.Short(entry.Value)}; an id from 0 is needed.");
            }
            if (!used.Add(id))
                throw new ModelFormatException($"model.vocab['{entry.Name}'] is {id}, which another word has.");
            ids.Add(entry.Name, id);
        }
        return ids;
    }

    private static List<AddedToken> ReadAdded(JsonElement root, Dictionary<string, int> ids)
    {
        var result = new List<AddedToken>();
        if (root.Member("added_tokens") is not { } added)
            return result;
        if (added.ValueKind != JsonValueKind.Array)
            throw new ModelFormatException("'added_tokens' is not an array.");
        Dictionary<int, string> words = ids.ToDictionary(entry => entry.Value, entry => entry.Key);
        foreach (JsonElement element in added.EnumerateArray())
        {
            string content = element.Text("content") ?? "";
            int id = element.Integer("id", 0) ?? throw new ModelFormatException($"Added token '{content}' has no id.");
            if (content.Length == 0)
                throw new ModelFormatException($"Added token {id} has no content.");
            if (element.Flag("single_word"))
                throw new ModelFormatException($"Added token '{content}' asks for 'single_word', which is not supported.");
            if (words.TryGetValue(id, out string? word) && word != content
                || ids.TryGetValue(content, out int known) && known != id)
            {
                throw new ModelFormatException($"Added token '{content}' with id {id} contradicts the vocabulary.");
            }
            words[id] = content;
            // lstrip and rstrip take white space away, which splitting on white space does too.
            result.Add(new AddedToken(content, id, element.Flag("normalized"), element.Flag("special")));
        }
        return result;
    }

    private sealed record AddedToken(string Content, int Id, bool Normalized, bool Special);
}
