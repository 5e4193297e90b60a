using System.Collections.Generic;

namespace AttnCompose.Generators.Support;

/// <summary>Names that are taken; the second of a name gets the suffix 2, and so on.</summary>
internal sealed class NameSet
{
    private readonly HashSet<string> _taken;

    public NameSet(params IEnumerable<string> reserved) => _taken = [.. reserved];

    public string Unique(string name, string separator = "")
    {
        string unique = name;
        for (int i = 2; !_taken.Add(unique); i++)
            unique = name + separator + i.ToString(System.Globalization.CultureInfo.InvariantCulture);
        return unique;
    }
}
