using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>A prompt and the answer that is right.</summary>
/// <param name="Id">Name.</param>
/// <param name="Kind">Kind, by which results are grouped.</param>
/// <param name="Tokens">Tokens of the prompt as its author counted them.</param>
/// <param name="Prompt">The text, special tokens included.</param>
/// <param name="Answer">The text that is right, word for word.</param>
public sealed record EvaluationPrompt(string Id, string Kind, int Tokens, string Prompt, string Answer)
{
    private const int MaxLineCharacters = 1 << 26;

    /// <summary>Reads a JSONL file: one object with <c>id, kind, tokens, prompt, answer</c> a line.</summary>
    /// <param name="path">The file.</param>
    /// <param name="limit">Most prompts to read.</param>
    /// <exception cref="ModelFormatException">
    /// The file cannot be read, or a line is malformed; the message says which.
    /// </exception>
    public static IReadOnlyList<EvaluationPrompt> Read(string path, int limit = int.MaxValue)
    {
        var result = new List<EvaluationPrompt>();
        try
        {
            int number = 0;
            foreach (string line in File.ReadLines(path))
            {
                number++;
                if (result.Count >= limit)
                    break;
                if (string.IsNullOrWhiteSpace(line))
                    continue;
                if (line.Length > MaxLineCharacters)
                {
                    throw new ModelFormatException(
                        $"{path}:{number}: the line has {line.Length} characters; at most {MaxLineCharacters} are taken.");
                }
                result.Add(JsonFile.Parse(System.Text.Encoding.UTF8.GetBytes(line), $"{path}:{number}", Parse));
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new ModelFormatException(
                exception is FileNotFoundException or DirectoryNotFoundException
                    ? $"{path}: there is no such file."
                    : $"{path}: cannot be read: {exception.Message}",
                exception);
        }
        return result.Count > 0 ? result : throw new ModelFormatException($"{path}: holds no prompts.");
    }

    private static EvaluationPrompt Parse(JsonElement line) =>
        new(
            Needed(line, "id"), Needed(line, "kind"), line.Integer("tokens", 0) ?? 0,
            Needed(line, "prompt"), Needed(line, "answer"));

    private static string Needed(JsonElement line, string name) =>
        line.Text(name) is { Length: > 0 } text ? text : throw new ModelFormatException($"'{name}' is missing.");
}
