using System.Diagnostics;
using System.Runtime.InteropServices;
using AttnCompose.Testing;

namespace AttnCompose.Cli.Tests;

/// <summary>A fact that skips where the packs for a trimmed publish cannot be had.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class TrimmedPublishFactAttribute : FactAttribute
{
    public TrimmedPublishFactAttribute() => Skip = TrimmedPublish.WhyNot;
}

/// <summary>Publishes the program trimmed and self-contained, with build outputs of its own.</summary>
internal static class TrimmedPublish
{
    private static readonly string Runtime = RuntimeInformation.RuntimeIdentifier;
    private static readonly string Artifacts = Repository.PathOf("artifacts/trimmed");
    private static readonly Lazy<string?> RestoreFailure = new(Restore);

    /// <summary>Why there is nothing to publish with; null where there is. A publish that fails then is a failure of the test.</summary>
    public static string? WhyNot => RestoreFailure.Value;

    /// <summary>Publishes and returns the program's path.</summary>
    public static string Program()
    {
        string folder = Path.Combine(Artifacts, "program");
        (int code, string output) = Dotnet(
            "publish", "-c", "Release", "--no-restore", "-o", folder, "-v", "q");
        Assert.True(code == 0, output);
        return Path.Combine(folder, OperatingSystem.IsWindows() ? "attncompose.exe" : "attncompose");
    }

    /// <summary>Runs a program to its end.</summary>
    /// <returns>The exit code; both streams, output first.</returns>
    public static (int Code, string Output) Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }

    private static string? Restore()
    {
        (int code, string output) = Dotnet("restore");
        return code == 0 ? null : $"The packs for a trimmed publish on {Runtime} cannot be restored: {output.Trim().Split('\n')[0]}";
    }

    private static (int Code, string Output) Dotnet(string verb, params string[] arguments) => Run(
        Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet",
        [verb, Repository.PathOf("src/Cli"), "-r", Runtime, "--artifacts-path", Artifacts, "-p:TrimmedProgram=true", "--nologo", "--tl:off", .. arguments]);
}
