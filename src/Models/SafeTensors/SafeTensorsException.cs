namespace AttnCompose.Models;

/// <summary>
/// A safetensors file cannot be read or written. The only exception that the reader throws for what a file holds. The message
/// says what is wrong and, for a malformed header, at which byte or in which tensor.
/// </summary>
public sealed class SafeTensorsException : Exception
{
    /// <summary>An error.</summary>
    /// <param name="message">What is wrong and where.</param>
    /// <param name="innerException">The cause, where there is one.</param>
    public SafeTensorsException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>The same error with the name of the file in front.</summary>
    internal SafeTensorsException InFile(string path) => new($"{path}: {Message}", InnerException);
}
