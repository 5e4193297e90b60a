using System.Globalization;

namespace AttnCompose.Cli.Compare;

/// <summary>
/// The options that a pipeline is tried with. Options that say how much is kept vary: those of one stage together, those of
/// different stages in every combination.
/// </summary>
/// <param name="fixedSettings">Options that stay.</param>
/// <param name="own">Values of single options, which take the place of the usual ones.</param>
internal sealed class Sweep(
    IReadOnlyList<KeyValuePair<string, string>> fixedSettings, IReadOnlyDictionary<string, string[]> own)
{
    /// <summary>Options that vary together, and their values from much to little; <c>0.5L</c> is half of the length.</summary>
    private static readonly (string[] Names, string[][] Rows)[] s_usual =
    [
        (["Coverage"], [["0.001"], ["0.01"], ["0.05"], ["0.15"], ["0.3"]]),
        (["Count"], [["0.75L"], ["0.5L"], ["0.35L"], ["0.2L"], ["0.1L"]]),
        (["Gamma"], [["0.99"], ["0.95"], ["0.9"], ["0.8"], ["0.6"]]),
        (["Threshold"], [["0.99"], ["0.95"], ["0.9"], ["0.8"], ["0.6"]]),
        (["Tau", "Theta"], [["0.99", "0"], ["0.95", "0"], ["0.9", "0"], ["0.8", "0"], ["0.6", "0"]]),
        // In blocks of 128.
        (["TopK"], [["0.004L"], ["0.002L"], ["0.001L"], ["0.0005L"], ["0.00025L"]]),
        (["P"], [["0.999"], ["0.99"], ["0.95"], ["0.9"], ["0.8"]]),
        (["Local"], [["0.5L"], ["0.25L"], ["0.12L"], ["0.06L"]]),
        (["VerticalSize", "SlashSize"], [["0.1L", "0.2L"], ["0.05L", "0.1L"], ["0.02L", "0.05L"], ["0.01L", "0.01L"]]),
    ];

    /// <summary>Every set of options to try a pipeline with, at least one.</summary>
    public IEnumerable<IReadOnlyList<KeyValuePair<string, string>>> Of(PipelineDescriptor pipeline, int length)
    {
        IReadOnlyList<KeyValuePair<string, string>> stays = CommonOptions.SettingsOf(pipeline, fixedSettings);
        IEnumerable<KeyValuePair<string, string>[]> sets = [[.. stays]];
        var groups = own
            .Select(entry => (Names: new[] { entry.Key }, Rows: entry.Value.Select(value => new[] { value }).ToArray()))
            .Concat(s_usual.Where(group => !group.Names.Any(own.ContainsKey)));
        foreach ((string[] names, string[][] rows) in groups)
        {
            if (!names.All(name => Has(pipeline, name)) || names.Any(name => stays.Any(setting => setting.Key == name)))
                continue;
            sets = [.. from set in sets from row in rows select (KeyValuePair<string, string>[])
                [.. set, .. names.Zip(row, (name, value) => new KeyValuePair<string, string>(name, Value(value, length)))]];
        }
        return sets;
    }

    private static bool Has(PipelineDescriptor pipeline, string name) =>
        pipeline.Plan.Parameters.Any(parameter => parameter.Name == name && !parameter.IsConstant);

    private static string Value(string text, int length) =>
        text.EndsWith('L') && double.TryParse(text[..^1], NumberStyles.Float, CultureInfo.InvariantCulture, out double share)
            ? Math.Max(1, Math.Round(share * length)).ToString(CultureInfo.InvariantCulture)
            : text;
}
