using System.Text.RegularExpressions;
using AttnCompose.Testing;

namespace AttnCompose.Architecture;

public sealed partial class FileTests
{
    private const int MostLines = 450;

    [Fact]
    public void A_source_file_has_one_concern_and_fits_in_a_sitting()
    {
        string[] tooLong = [.. Files.Under("src", ".cs", ".cuh")
            .Select(file => (File: Files.Name(file), Lines: File.ReadLines(file).Count()))
            .Where(entry => entry.Lines > MostLines)
            .Select(entry => $"{entry.File} has {entry.Lines} lines")];
        Assert.Empty(tooLong);
    }

    [Fact]
    public void No_file_names_a_path_of_somebodys_machine()
    {
        Assert.Empty(Files.AllText.SelectMany(file => MachinePath().Matches(File.ReadAllText(file))
            .Select(match => $"{Files.Name(file)}: {match.Value}")));
    }

    [Theory]
    [InlineData("see /" + "work/main/x", true)]
    [InlineData("(/" + "root/.nuget)", true)]
    [InlineData("/" + "home/alice/x", true)]
    [InlineData(@"C:\" + @"Users\alice", true)]
    [InlineData("frame/work/unit", false)]
    [InlineData("/home/u/.cache", false)]
    [InlineData("/usr/local/cuda/lib64", false)]
    public void Machine_paths_are_recognised(string text, bool expected) => Assert.Equal(expected, MachinePath().IsMatch(text));

    [Fact]
    public void Nothing_in_src_is_left_for_later() =>
        Assert.Empty(Files.Under("src", ".cs", ".cuh").SelectMany(file => Unfinished().Matches(File.ReadAllText(file))
            .Select(match => $"{Files.Name(file)}: {match.Value}")));

    [Fact]
    public void Text_files_end_lines_with_LF_and_have_a_final_newline()
    {
        foreach (string file in Files.AllText.Where(file => !file.EndsWith(".sln", StringComparison.Ordinal)))
        {
            byte[] bytes = File.ReadAllBytes(file);
            Assert.False(bytes.Contains((byte)'\r'), $"{Files.Name(file)} has a carriage return.");
            bool isSnapshot = Path.GetFileName(file).Contains(".verified.", StringComparison.Ordinal);
            if (isSnapshot)
                Assert.True(bytes.AsSpan().StartsWith("\uFEFF"u8), $"{Files.Name(file)} has no byte order mark.");
            if (bytes.Length > 0 && !IsData(file))
            {
                Assert.True(isSnapshot != (bytes[^1] == '\n'),
                    $"{Files.Name(file)} must {(isSnapshot ? "not end" : "end")} with a newline.");
            }
        }
    }

    [Fact]
    public void The_shell_scripts_run_where_they_are_checked_out()
    {
        foreach (string file in (string[])["build.sh", ".ci/run"])
        {
            string path = Repository.PathOf(file);
            Assert.StartsWith("#!/usr/bin/env bash\n", File.ReadAllText(path));
            if (!OperatingSystem.IsWindows())
                Assert.True((File.GetUnixFileMode(path) & UnixFileMode.UserExecute) != 0, $"{file} is not executable.");
        }
    }

    /// <summary>Models and prompts are kept byte for byte as their authors wrote them.</summary>
    private static bool IsData(string file) => Path.GetExtension(file) is ".json" or ".jsonl";

    [GeneratedRegex(@"(?<![\w./-])/(work|root|home/\w\w+)/|[A-Za-z]:\\+Users\\")]
    private static partial Regex MachinePath();

    [GeneratedRegex(@"\b(TODO|FIXME|XXX|HACK|NotImplementedException)\b")]
    private static partial Regex Unfinished();
}
