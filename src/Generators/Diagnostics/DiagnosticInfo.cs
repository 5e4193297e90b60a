using System.Linq;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Text;

namespace AttnCompose.Generators.Diagnostics;

/// <summary>A place in a file, as values.</summary>
internal sealed record LocationSpec(string Path, TextSpan Span, LinePositionSpan Lines)
{
    public static LocationSpec? From(Location? location) =>
        location is { IsInSource: true, SourceTree: { } tree }
            ? new LocationSpec(tree.FilePath, location.SourceSpan, location.GetLineSpan().Span)
            : null;

    public Location ToLocation() => Location.Create(Path, Span, Lines);
}

/// <summary>A diagnostic as a value: a rule, a place, and the words.</summary>
internal sealed record DiagnosticInfo(string Id, LocationSpec? Location, EquatableArray<string> Words)
{
    public Diagnostic ToDiagnostic() => Diagnostic.Create(
        DiagnosticDescriptors.ById(Id), Location?.ToLocation() ?? Microsoft.CodeAnalysis.Location.None, Words.ToArray<object>());
}
