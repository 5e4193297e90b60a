using System.Globalization;
using System.Text;

namespace AttnCompose.Cli.Bench;

/// <summary>
/// Plots of a report as one SVG file, legible on light and dark grounds: time against length (both logarithmic), and time
/// against the share of tokens kept. Of a peer that can be run in several ways, the fastest is drawn.
/// </summary>
internal static class SvgPlots
{
    private const int Width = 720;
    private const int Height = 380;
    private const int Left = 70;
    private const int Right = 230; // the legend stands there
    private const int Top = 40;
    private const int Bottom = 50;
    private const int LegendLine = 17;
    private const string Grey = "#808080";

    /// <summary>Middle tones that people who do not see red and green can tell apart (Okabe and Ito), black left out.</summary>
    private static readonly string[] s_colours =
        ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#882255"];

    /// <summary>The file, or null where no row can be drawn.</summary>
    public static string? Draw(BenchReport report)
    {
        BenchRow[] measured =
            [.. report.Rows.Where(row => row.IsMeasured && (row.Case.Workload is Workloads.Dense or Workloads.TokenSparse))];
        int heads = (measured.FirstOrDefault(row => row.IsOwn) ?? measured.FirstOrDefault())?.Case.Heads ?? 0;
        BenchRow[] rows =
        [
            .. from row in measured
               where row.Case.Heads == heads
               group row by (Name(row), row.Case with { KeyValueHeads = 0 }) into ways
               select ways.MinBy(row => row.Statistics.Median),
        ];
        Series[] byLength = [.. Lines(rows, row => row.Case.Length, LengthLabel)];
        IEnumerable<BenchRow> sparse = rows.Where(row => row.Case.Kept is not null);
        Series[] byKept = [.. Lines(sparse, row => (double)row.Case.Kept!.Value / row.Case.Length, KeptLabel)];
        var panels = new List<string>();
        if (byLength.Length > 0)
            panels.Add(Panel("Time of a call against length", "tokens", byLength, isLogarithmic: true, 0));
        int offset = panels.Count * Height;
        if (byKept.Length > 0)
            panels.Add(Panel("Time of a call against tokens kept", "share of the tokens kept", byKept, false, offset));
        if (panels.Count == 0)
            return null;
        int height = panels.Count * Height;
        return Text($"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {height}\" ")
            + Text($"width=\"{Width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{Grey}\">\n{string.Concat(panels)}</svg>\n");
    }

    /// <summary>One line a label through at least two different places.</summary>
    private static IEnumerable<Series> Lines(
        IEnumerable<BenchRow> rows, Func<BenchRow, double> place, Func<BenchRow, string> label) =>
        from row in rows
        group row by label(row) into line
        let points = line.Select(row => (X: place(row), Y: row.Statistics.Median)).OrderBy(point => point.X).ToArray()
        where points.Select(point => point.X).Distinct().Count() > 1
        select new Series(line.Key, points);

    private static string LengthLabel(BenchRow row) =>
        Name(row) + (row.Case.Keep is { } keep ? Text($", keep {keep:0.##}") : "");

    private static string KeptLabel(BenchRow row) => $"{Name(row)}, {BenchCase.LengthName(row.Case.Length)}";

    private static string Name(BenchRow row) => row.IsOwn ? row.Implementation : row.Peer;

    private static string Panel(string title, string xTitle, Series[] lines, bool isLogarithmic, int offset)
    {
        var points = lines.SelectMany(line => line.Points).ToArray();
        Axis x = isLogarithmic
            ? Axis.Logarithmic(points.Min(point => point.X), points.Max(point => point.X), 2)
            : Axis.Linear(0, 1, 0.25);
        Axis y = isLogarithmic
            ? Axis.Logarithmic(points.Min(point => point.Y), points.Max(point => point.Y), 10)
            : Axis.LinearTo(points.Max(point => point.Y));
        double X(double value) => Left + x.Share(value) * (Width - Left - Right);
        double Y(double value) => Height - Bottom - y.Share(value) * (Height - Top - Bottom);

        var svg = new StringBuilder(Text($"<g transform=\"translate(0 {offset})\">\n"));
        svg.Append(Text($"<text x=\"{Left}\" y=\"{Top - 18}\" font-size=\"14\">{Escape(title)}</text>\n"));
        foreach (double tick in x.Ticks)
        {
            string name = isLogarithmic ? BenchCase.LengthName((long)tick) : Text($"{tick:0.##}");
            svg.Append(Text($"<path d=\"M{X(tick):0.#} {Top}V{Height - Bottom}\" stroke=\"{Grey}\" stroke-opacity=\"0.25\"/>"));
            svg.Append(Text($"<text x=\"{X(tick):0.#}\" y=\"{Height - Bottom + 18}\" text-anchor=\"middle\">{name}</text>\n"));
        }
        foreach (double tick in y.Ticks)
        {
            svg.Append(Text($"<path d=\"M{Left} {Y(tick):0.#}H{Width - Right}\" stroke=\"{Grey}\" stroke-opacity=\"0.25\"/>"));
            svg.Append(Text($"<text x=\"{Left - 8}\" y=\"{Y(tick) + 4:0.#}\" text-anchor=\"end\">{tick:0.######}</text>\n"));
        }
        (int middle, int centre) = ((Left + Width - Right) / 2, (Top + Height - Bottom) / 2);
        svg.Append(Text($"<text x=\"{middle}\" y=\"{Height - 8}\" text-anchor=\"middle\">{Escape(xTitle)}</text>\n"));
        svg.Append(Text($"<text transform=\"translate(16 {centre}) rotate(-90)\" text-anchor=\"middle\">ms</text>\n"));
        for (int i = 0; i < lines.Length; i++)
        {
            string colour = s_colours[i % s_colours.Length];
            string dashes = i < s_colours.Length ? "" : " stroke-dasharray=\"5 3\"";
            string path = string.Join(" L", lines[i].Points.Select(point => Text($"{X(point.X):0.#} {Y(point.Y):0.#}")));
            svg.Append(Text($"<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"));
            foreach ((double X, double Y) point in lines[i].Points)
                svg.Append(Text($"<circle cx=\"{X(point.X):0.#}\" cy=\"{Y(point.Y):0.#}\" r=\"3\" fill=\"{colour}\"/>"));
            int line = Top + 8 + i * LegendLine;
            svg.Append(Text($"\n<path d=\"M{Width - Right + 12} {line}h18\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"));
            string label = Escape(lines[i].Label);
            svg.Append(Text($"<text x=\"{Width - Right + 36}\" y=\"{line + 4}\" font-size=\"11\">{label}</text>\n"));
        }
        return svg.Append("</g>\n").ToString();
    }

    private static string Escape(string text) => text.Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;");

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private sealed record Series(string Label, (double X, double Y)[] Points);

    /// <summary>Where values stand between the ends of an axis.</summary>
    private sealed record Axis(double Low, double High, bool IsLogarithmic, double[] Ticks)
    {
        /// <summary>From a power of a base to another, a tick each.</summary>
        public static Axis Logarithmic(double least, double greatest, int @base)
        {
            int from = (int)Math.Floor(Math.Log(least, @base) + 1e-9);
            int to = Math.Max(from + 1, (int)Math.Ceiling(Math.Log(greatest, @base) - 1e-9));
            return new(
                Math.Pow(@base, from), Math.Pow(@base, to), true,
                [.. Enumerable.Range(from, to - from + 1).Select(power => Math.Pow(@base, power))]);
        }

        /// <summary>A tick every so often.</summary>
        public static Axis Linear(double low, double high, double step) => new(
            low, high, false, [.. Enumerable.Range(0, (int)Math.Round((high - low) / step) + 1).Select(i => low + i * step)]);

        /// <summary>From 0 to above the greatest value, with four to ten round ticks.</summary>
        public static Axis LinearTo(double greatest)
        {
            double power = Math.Pow(10, Math.Floor(Math.Log10(greatest)));
            double step = power * (greatest / power < 2 ? 0.2 : greatest / power < 5 ? 0.5 : 1);
            return Linear(0, step * Math.Ceiling(greatest / step), step);
        }

        public double Share(double value) =>
            IsLogarithmic ? Math.Log(value / Low) / Math.Log(High / Low) : (value - Low) / (High - Low);
    }
}
