using System.Text.RegularExpressions;
using AttnCompose.Testing;

namespace AttnCompose.Architecture;

public sealed partial class SnapshotTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("attncompose-snapshot-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_missing_verified_file_fails_and_leaves_what_was_received()
    {
        var error = Assert.Throws<SnapshotMismatchException>(() => Match("one\r\ntwo\r\n"));
        Assert.Contains(Verified, error.Message);
        Assert.Contains(Received, error.Message);
        Assert.Equal("\uFEFFone\ntwo"u8.ToArray(), File.ReadAllBytes(Received));
        Assert.False(File.Exists(Verified));
    }

    [Fact]
    public void Accepting_writes_the_verified_form_and_removes_the_received_file()
    {
        Assert.Throws<SnapshotMismatchException>(() => Match("one\n"));
        Match("one\ntwo\n", accept: true);
        Assert.Equal("\uFEFFone\ntwo"u8.ToArray(), File.ReadAllBytes(Verified));
        Assert.False(File.Exists(Received));
        Match("one\r\ntwo");
    }

    [Fact]
    public void A_mismatch_names_both_files_and_the_first_line_that_differs()
    {
        Match("same\nold\ntail", accept: true);
        string message = Assert.Throws<SnapshotMismatchException>(() => Match("same\nnew\ntail")).Message;
        Assert.Contains("line 2:\n  - old\n  + new\n", message);
        Assert.Contains(Verified, message);
        Assert.Contains(Received, message);
        Assert.Equal("\uFEFFsame\nold\ntail"u8.ToArray(), File.ReadAllBytes(Verified));
    }

    [Fact]
    public void Text_that_stops_early_is_a_mismatch()
    {
        Match("one\ntwo", accept: true);
        Assert.Contains("+ (end of text)", Assert.Throws<SnapshotMismatchException>(() => Match("one")).Message);
        Assert.Throws<SnapshotMismatchException>(() => Match("one\ntwo\n\n"));
    }

    [Fact]
    public void A_match_removes_an_old_received_file()
    {
        Match("one", accept: true);
        Assert.Throws<SnapshotMismatchException>(() => Match("two"));
        Assert.True(File.Exists(Received));
        Match("one");
        Assert.False(File.Exists(Received));
    }

    [Theory]
    [InlineData("/_/tests/Architecture/SnapshotTests.cs")]
    [InlineData("/elsewhere/checkout/tests/Architecture/SnapshotTests.cs")]
    [InlineData(@"C:\src\AttnCompose\tests\Architecture\SnapshotTests.cs")]
    public void A_mapped_source_path_is_found_in_the_checkout(string recorded) =>
        Assert.Equal(Repository.PathOf("tests/Architecture/SnapshotTests.cs"), Snapshot.Locate(recorded, Repository.Root));

    [Fact]
    public void The_folder_of_a_scenario_lies_beside_the_test() =>
        Assert.Equal(Repository.PathOf("tests/Architecture/Snapshots/Dense"), Snapshot.Folder("Dense"));

    [Fact]
    public void A_source_that_is_not_in_the_checkout_is_an_error() =>
        Assert.Throws<FileNotFoundException>(() => Snapshot.Locate("/_/tests/Nowhere/Missing.cs", Repository.Root));

    [Fact]
    public void Each_ready_pipeline_and_each_of_the_samples_has_its_kernel_text_for_reviewers()
    {
        string[] missing = [.. Files.Under("src/Pipelines/Ready", ".cs").Concat(Files.Under("samples", ".cs"))
            .SelectMany(file => Declaration().Matches(File.ReadAllText(file)))
            .Select(match => $"tests/Generators/Snapshots/{match.Groups[1].Value}/kernels.verified.cu")
            .Where(file => !File.Exists(Path.Combine(Repository.Root, file)))];
        Assert.Empty(missing);
    }

    private string Verified => Path.Combine(_folder, "Scenario", "plan.verified.txt");

    private string Received => Path.Combine(_folder, "Scenario", "plan.received.txt");

    private void Match(string text, bool accept = false) =>
        Snapshot.MatchIn(Path.Combine(_folder, "Scenario"), "plan.txt", text, accept);

    // From the attribute to the name of the class, over the stages between.
    [GeneratedRegex(@"^\[AttentionPipeline\b[^;{]*?\bclass (\w+)", RegexOptions.Multiline)]
    private static partial Regex Declaration();
}
