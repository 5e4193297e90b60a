using System.Runtime.CompilerServices;
using System.Text;

namespace AttnCompose.Testing;

/// <summary>
/// Compares text with a reviewed file beside the test's source: <c>Snapshots/&lt;scenario&gt;/&lt;name&gt;.verified.&lt;ext&gt;</c>,
/// in the on-disk form of the Verify packages (UTF-8 with BOM, LF, no final newline). On a mismatch the text is left beside
/// it as <c>.received.</c>; with ATTNCOMPOSE_ACCEPT=1 it becomes the new verified file, except in CI.
/// </summary>
internal static class Snapshot
{
    private static readonly UTF8Encoding Encoding = new(encoderShouldEmitUTF8Identifier: true, throwOnInvalidBytes: true);

    /// <summary>Compares <paramref name="text"/> with the snapshot of a scenario.</summary>
    /// <param name="scenario">Folder under Snapshots, such as <c>TokenSparsePrefill</c>.</param>
    /// <param name="file">Name and extension, such as <c>kernels.cu</c> for <c>kernels.verified.cu</c>.</param>
    /// <param name="text">What the test got. Line ends and one final newline do not count.</param>
    /// <param name="source">The test's source file; filled in by the compiler.</param>
    public static void Match(string scenario, string file, string text, [CallerFilePath] string source = "") =>
        MatchIn(Folder(scenario, source), file, text,
            accept: Environment.GetEnvironmentVariable("ATTNCOMPOSE_ACCEPT") == "1" && !IsContinuousIntegration);

    /// <summary>The folder of a scenario: beside the source file, wherever this checkout lies.</summary>
    public static string Folder(string scenario, [CallerFilePath] string source = "") =>
        Path.Combine(Path.GetDirectoryName(Locate(source, Repository.Root))!, "Snapshots", scenario);

    /// <summary>Compares in a folder that is given.</summary>
    public static void MatchIn(string folder, string file, string text, bool accept)
    {
        string name = Path.GetFileNameWithoutExtension(file);
        string extension = Path.GetExtension(file);
        string verified = Path.Combine(folder, $"{name}.verified{extension}");
        string received = Path.Combine(folder, $"{name}.received{extension}");
        string actual = Normalise(text);
        string? expected = File.Exists(verified) ? Normalise(File.ReadAllText(verified, Encoding)) : null;
        if (actual == expected)
        {
            File.Delete(received);
            return;
        }
        Directory.CreateDirectory(folder);
        File.WriteAllText(accept ? verified : received, actual, Encoding);
        if (accept)
        {
            File.Delete(received);
            return;
        }
        throw new SnapshotMismatchException(expected is null
            ? $"There is no verified file yet.\n  verified: {verified}\n  received: {received}\nReview it and rerun with ATTNCOMPOSE_ACCEPT=1."
            : $"{FirstDifference(expected, actual)}\n  verified: {verified}\n  received: {received}\nIf the change is meant, rerun with ATTNCOMPOSE_ACCEPT=1.");
    }

    /// <summary>
    /// The file that a compiler-recorded path means. A deterministic build maps the checkout's folder to <c>/_/</c>, so the
    /// longest tail of the path that exists in the checkout counts.
    /// </summary>
    public static string Locate(string source, string root)
    {
        string[] parts = source.Split('/', '\\');
        for (int i = 0; i < parts.Length; i++)
        {
            string candidate = Path.Combine([root, .. parts[i..]]);
            if (parts[i].Length > 0 && File.Exists(candidate))
                return candidate;
        }
        throw new FileNotFoundException($"'{source}' was not found in the checkout {root}.");
    }

    private static bool IsContinuousIntegration =>
        Environment.GetEnvironmentVariable("CI") is { Length: > 0 } value && value != "false" && value != "0";

    private static string Normalise(string text)
    {
        text = text.ReplaceLineEndings("\n");
        return text.EndsWith('\n') ? text[..^1] : text;
    }

    private static string FirstDifference(string expected, string actual)
    {
        string[] left = expected.Split('\n');
        string[] right = actual.Split('\n');
        int line = 0;
        while (line < left.Length && line < right.Length && left[line] == right[line])
            line++;
        return $"The text differs from its snapshot in line {line + 1}:\n  - {At(left)}\n  + {At(right)}";

        string At(string[] lines) => line < lines.Length ? lines[line] : "(end of text)";
    }
}

/// <summary>Text differs from its snapshot.</summary>
internal sealed class SnapshotMismatchException(string message) : Exception(message);
