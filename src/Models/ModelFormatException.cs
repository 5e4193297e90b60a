namespace AttnCompose.Models;

/// <summary>
/// A model's configuration, tokenizer or weights, or a prompt file, is malformed or uses something that is not supported. The
/// message names the file and the entry.
/// </summary>
public sealed class ModelFormatException : Exception
{
    /// <summary>An error.</summary>
    /// <param name="message">What is wrong and where.</param>
    /// <param name="innerException">The cause, where there is one.</param>
    public ModelFormatException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }
}
