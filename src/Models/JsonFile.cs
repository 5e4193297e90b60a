using System.Text.Json;

namespace AttnCompose.Models;

/// <summary>
/// Reads small JSON files; whatever is wrong with them becomes a <see cref="ModelFormatException"/> that names the file.
/// </summary>
internal static class JsonFile
{
    private const long MaxBytes = 256L << 20;

    public static T Read<T>(string path, Func<JsonElement, T> parse)
    {
        byte[] bytes;
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists)
                throw new ModelFormatException($"{path}: there is no such file.");
            if (info.Length > MaxBytes)
                throw new ModelFormatException($"{path}: has {info.Length} bytes; at most {MaxBytes} are taken.");
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new ModelFormatException($"{path}: cannot be read: {exception.Message}", exception);
        }
        return Parse(bytes, path, parse);
    }

    public static T Parse<T>(ReadOnlyMemory<byte> json, string name, Func<JsonElement, T> parse)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new ModelFormatException("is not a JSON object.");
            return parse(document.RootElement);
        }
        catch (ModelFormatException exception)
        {
            throw new ModelFormatException($"{name}: {exception.Message}", exception.InnerException);
        }
        // Besides malformed JSON: a string with half of a surrogate pair.
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new ModelFormatException($"{name}: is not valid JSON: {exception.Message}", exception);
        }
    }

    /// <summary>A member that is there and not null.</summary>
    public static JsonElement? Member(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object
        && element.TryGetProperty(name, out JsonElement value)
        && value.ValueKind != JsonValueKind.Null
            ? value
            : null;

    public static string? Text(this JsonElement element, string name) => element.Member(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } value => value.GetString(),
        var value => throw new ModelFormatException($"'{name}' is {Short(value.Value)}; a string is needed."),
    };

    public static int? Integer(this JsonElement element, string name, int min)
    {
        if (element.Member(name) is not { } value)
            return null;
        if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= min)
            return number;
        throw new ModelFormatException($"'{name}' is {Short(value)}; an integer from {min} to {int.MaxValue} is needed.");
    }

    public static double? PositiveNumber(this JsonElement element, string name)
    {
        if (element.Member(name) is not { } value)
            return null;
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number)
            && number > 0 && double.IsFinite(number))
            return number;
        throw new ModelFormatException($"'{name}' is {Short(value)}; a positive number is needed.");
    }

    public static bool Flag(this JsonElement element, string name) => element.Member(name) switch
    {
        null or { ValueKind: JsonValueKind.False } => false,
        { ValueKind: JsonValueKind.True } => true,
        var value => throw new ModelFormatException($"'{name}' is {Short(value.Value)}; true or false is needed."),
    };

    public static string Short(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length > 60 ? text[..60] + "..." : text;
    }
}
