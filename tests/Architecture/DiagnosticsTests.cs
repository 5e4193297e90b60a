using System.Text.RegularExpressions;
using AttnCompose.Testing;

namespace AttnCompose.Architecture;

/// <summary>Every diagnostic id has a page, a release note and a descriptor; there is none of these without the others.</summary>
public sealed partial class DiagnosticsTests
{
    private static readonly string[] Ids = [.. Files.Under("src/Generators", ".cs")
        .SelectMany(file => QuotedId().Matches(File.ReadAllText(file)))
        .Select(match => match.Groups["id"].Value)
        .Distinct()
        .Order(StringComparer.Ordinal)];

    [Fact]
    public void There_are_diagnostics() => Assert.NotEmpty(Ids);

    [Fact]
    public void Every_id_has_a_page_and_every_page_an_id()
    {
        string[] pages = [.. Files.Under("docs/diagnostics", ".md")
            .Select(file => Path.GetFileNameWithoutExtension(file))
            .Where(name => name.StartsWith("ATTN", StringComparison.Ordinal))];
        Assert.Equal(Ids, pages);
    }

    [Fact]
    public void A_page_is_about_its_id_and_shows_code() =>
        Assert.All(Ids, id =>
        {
            string page = File.ReadAllText(Repository.PathOf($"docs/diagnostics/{id}.md"));
            Assert.StartsWith($"# {id}", page);
            Assert.Contains("```csharp", page);
        });

    [Fact]
    public void Every_id_is_in_the_release_notes_of_the_analyzer()
    {
        string notes = string.Concat(Files.Under("src/Generators", ".md").Select(File.ReadAllText));
        Assert.Equal(Ids, AnyId().Matches(notes).Select(match => match.Value).Distinct().Order(StringComparer.Ordinal));
    }

    [GeneratedRegex("\"(?<id>ATTN[0-9]{4})\"")]
    private static partial Regex QuotedId();

    [GeneratedRegex("ATTN[0-9]{4}")]
    private static partial Regex AnyId();
}
