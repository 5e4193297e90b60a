using System.Globalization;

namespace AttnCompose.Cli.Bench;

/// <summary>What people read of a report: the machine, every row, and our rows beside the best of each peer.</summary>
internal static class BenchTables
{
    private const double GiB = 1 << 30;

    /// <summary>The machine and its ceilings, then all tables.</summary>
    /// <param name="output">Where to write.</param>
    /// <param name="report">Our report; peers that took turns with us are in it.</param>
    /// <param name="others">Peers of another run; null where there are none.</param>
    public static void Write(TextWriter output, BenchReport report, BenchReport? others)
    {
        WriteMachine(output, report, "");
        if (others is not null)
            WriteMachine(output, others, "compared with ");
        WriteAttention(output, report);
        WriteParts(output, report);
        WriteRatios(output, report.Rows, [.. report.Rows, .. others?.Rows ?? []]);
        WriteOverhead(output, report);
        WriteBreakEven(output, report);
    }

    /// <summary>One row in one line, for following a run.</summary>
    public static string Line(BenchRow row)
    {
        string name = $"{row.Implementation}{(row.Part.Length > 0 ? $" ({row.Part})" : "")}, {row.Case}";
        if (!row.IsMeasured)
            return $"{name}: {(row.Error.Length > 0 ? row.Error : "no samples")}";
        string rate = row.HasOperations ? $", {Rate(row.Teraflops)} TFLOP/s" : "";
        return $"{name}: {Milliseconds(row.Statistics.Median)} ms{rate}";
    }

    /// <summary>
    /// Our rows beside each peer's best: of the ways to run one peer the fastest, apart for each number of heads that it was
    /// given; by rate, since with more heads there is more work.
    /// </summary>
    public static IReadOnlyList<(BenchRow Ours, BenchRow Peer, double Faster)> Ratios(
        IReadOnlyList<BenchRow> ours, IReadOnlyList<BenchRow> theirs) =>
    [
        .. from row in ours
           where row.IsOwn && row.IsMeasured
           from peer in theirs.Where(peer => !peer.IsOwn && peer.IsMeasured && AreComparable(row.Case, peer.Case))
               .GroupBy(peer => (peer.Peer, peer.Case.Heads))
           let best = peer.MinBy(PerOperation)!
           select (row, best, PerOperation(best) / PerOperation(row)),
    ];

    /// <summary>
    /// The least length from which on a token-sparse pipeline is faster than a dense one at one share; null where it is not.
    /// </summary>
    public static int? BreakEven(IEnumerable<BenchRow> dense, IEnumerable<BenchRow> sparse)
    {
        var pairs = dense.Where(row => row.IsMeasured)
            .Join(sparse.Where(row => row.IsMeasured), row => row.Case.Length, row => row.Case.Length, (d, s) => (
                d.Case.Length, IsFaster: s.Statistics.Median < d.Statistics.Median))
            .OrderByDescending(pair => pair.Length)
            .TakeWhile(pair => pair.IsFaster)
            .ToArray();
        return pairs.Length > 0 ? pairs[^1].Length : null;
    }

    /// <summary>Milliseconds with four digits that matter.</summary>
    public static string Milliseconds(double value) => value switch
    {
        >= 100 => Text($"{value:0.0}"),
        >= 10 => Text($"{value:0.00}"),
        >= 1 => Text($"{value:0.000}"),
        _ => Text($"{value:0.0000}"),
    };

    /// <summary>A rate with three digits that matter.</summary>
    public static string Rate(double value) => value >= 10 ? Text($"{value:0.0}") : Text($"{value:0.000}");

    private static bool AreComparable(BenchCase a, BenchCase b) =>
        a.Workload == b.Workload && a.Length == b.Length && a.HeadDim == b.HeadDim && a.Element == b.Element && a.Mask == b.Mask
        && (a.Keep is null) == (b.Keep is null) && Math.Abs((a.Keep ?? 1) - (b.Keep ?? 1)) < 1e-9;

    private static double PerOperation(BenchRow row) =>
        row.HasOperations ? row.Statistics.Median / row.Case.Operations : row.Statistics.Median / row.Case.Heads;

    private static void WriteMachine(TextWriter output, BenchReport report, string prefix)
    {
        output.WriteLine(Text($"{prefix}{report.Created:yyyy-MM-dd HH:mm} UTC  {report.Command}"));
        foreach ((string name, string value) in report.Machine)
            output.WriteLine($"  {name}: {value}");
        Ceilings ceilings = report.Ceilings;
        if (double.IsFinite(ceilings.MatmulTeraflops) || double.IsFinite(ceilings.CopyTerabytes))
        {
            string matmul = double.IsFinite(ceilings.MatmulTeraflops)
                ? Text($"matmul {ceilings.MatmulTeraflops:0} TFLOP/s at best, ")
                    + Text($"{ceilings.SustainedTeraflops:0} under lasting load, ")
                : "";
            output.WriteLine(Text($"  ceilings: {matmul}copy {ceilings.CopyTerabytes:0.00} TB/s"));
        }
        if (ceilings.Note.Length > 0)
            output.WriteLine($"  {ceilings.Note}");
    }

    private static void WriteAttention(TextWriter output, BenchReport report)
    {
        BenchRow[] rows = [.. report.Rows.Where(row => row.HasOperations)];
        if (rows.Length == 0)
            return;
        output.WriteLine();
        output.WriteLine(
            "| workload | L | kept | d | heads | implementation | ms | middle half | TFLOP/s | of matmul | GiB | MHz | W |\n"
            + "|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        foreach (BenchRow row in rows)
        {
            BenchCase of = row.Case;
            string what = $"{What(of)}, {BenchCase.ElementName(of.Element)}";
            string kept = of.Kept is { } count ? Text($"{(double)count / of.Length:0.0 %}") : "all";
            string who = row.Note.Length > 0 ? $"{row.Implementation} ({row.Note})" : row.Implementation;
            output.Write($"| {what} | {BenchCase.LengthName(of.Length)} | {kept} | {of.HeadDim} |");
            output.Write($" {of.Heads}/{of.KeyValueHeads} | {who} |");
            if (!row.IsMeasured)
            {
                output.WriteLine($" {(row.Error.Length > 0 ? row.Error : "no samples")} | | | | | | |");
                continue;
            }
            SampleStatistics time = row.Statistics;
            double ceiling = report.Ceilings.MatmulTeraflops;
            string share = double.IsFinite(ceiling) ? Text($"{row.Teraflops / ceiling:0 %}") : "";
            output.WriteLine(
                $" {Milliseconds(time.Median)} | {Milliseconds(time.LowerQuartile)} to {Milliseconds(time.UpperQuartile)} |"
                + $" {Rate(row.Teraflops)} | {share} |"
                + $" {Positive(row.MemoryBytes / GiB, "0.0")} | {Positive(row.ClockMegahertz, "0")} |"
                + $" {Positive(row.PowerWatts, "0")} |");
        }
    }

    private static void WriteParts(TextWriter output, BenchReport report)
    {
        BenchRow[] rows = [.. report.Rows.Where(row => !row.HasOperations && row.IsMeasured)];
        if (rows.Length == 0)
            return;
        output.WriteLine();
        output.WriteLine("| workload | L | kept | implementation | part | ms | middle half | p99 | samples |");
        output.WriteLine("|---|---|---|---|---|---|---|---|---|");
        foreach (BenchRow row in rows)
        {
            SampleStatistics time = row.Statistics;
            string kept = row.Case.Kept is { } count ? Text($"{(double)count / row.Case.Length:0.0 %}") : "";
            string who = row.Note.Length > 0 ? $"{row.Implementation} ({row.Note})" : row.Implementation;
            double last = SampleStatistics.Quantile([.. row.Samples.Order()], 0.99);
            output.WriteLine(
                $"| {row.Case.Workload} | {BenchCase.LengthName(row.Case.Length)} | {kept} | {who} | {row.Part} |"
                + $" {Milliseconds(time.Median)} | {Milliseconds(time.LowerQuartile)} to {Milliseconds(time.UpperQuartile)} |"
                + $" {Milliseconds(last)} | {time.Count} |");
        }
    }

    private static void WriteRatios(TextWriter output, IReadOnlyList<BenchRow> ours, IReadOnlyList<BenchRow> theirs)
    {
        var ratios = Ratios(ours, theirs);
        if (ratios.Count == 0)
            return;
        output.WriteLine();
        output.WriteLine("| workload | L | kept | d | ours | ms | peer, its best way | ms | ours is faster |");
        output.WriteLine("|---|---|---|---|---|---|---|---|---|");
        foreach ((BenchRow row, BenchRow peer, double faster) in ratios)
        {
            string kept = row.Case.Kept is { } count ? Text($"{(double)count / row.Case.Length:0.0 %}") : "all";
            string heads = peer.Case.Heads == row.Case.Heads ? "" : $", by rate at {peer.Case.Heads} heads";
            output.WriteLine(
                $"| {What(row.Case)} | {BenchCase.LengthName(row.Case.Length)} | {kept} | {row.Case.HeadDim} |"
                + $" {row.Implementation} | {Milliseconds(row.Statistics.Median)} |"
                + $" {peer.Implementation}{heads} | {Milliseconds(peer.Statistics.Median)} |"
                + Text($" {faster:0.00}x |"));
        }
    }

    /// <summary>What a whole call takes beyond dense attention over its kept tokens.</summary>
    private static void WriteOverhead(TextWriter output, BenchReport report)
    {
        var pairs = from sparse in report.Rows
                    where sparse is { IsOwn: true, IsMeasured: true, Case.Workload: Workloads.TokenSparse }
                    from dense in report.Rows
                    where dense is { IsMeasured: true, Case.Workload: Workloads.Contiguous }
                        && dense.Case.Length == sparse.Case.Kept && dense.Case.Keep == sparse.Case.Keep
                    select (sparse, dense);
        foreach ((BenchRow sparse, BenchRow dense) in pairs)
        {
            (double whole, double attention) = (sparse.Statistics.Median, dense.Statistics.Median);
            output.WriteLine();
            output.WriteLine(
                $"{sparse.Implementation} at {BenchCase.LengthName(sparse.Case.Length)}: {Milliseconds(whole)} ms,"
                + $" {Milliseconds(whole - attention)} ms beyond the {Milliseconds(attention)} ms of dense attention"
                + $" over its {dense.Case.Length} kept tokens laid out contiguously.");
            if (Loop(report, sparse) is { } loop)
            {
                output.WriteLine(
                    $"Without its other kernels it takes {Milliseconds(loop)} ms, so its loop has"
                    + Text($" {attention / loop:0.0 %} of the rate of dense attention."));
            }
        }
    }

    /// <summary>
    /// What a call takes without the kernels ahead of its attention kernel, ms; null where they were not timed. Of two long kernels
    /// timed alone the one that comes to a cooler chip would look faster, so whole calls that took turns are compared.
    /// </summary>
    private static double? Loop(BenchReport report, BenchRow call)
    {
        BenchRow[] others =
        [
            .. report.Rows.Where(row => row.Case.Workload == Workloads.Kernel && row.Implementation == call.Implementation
                && row.Case.Length == call.Case.Length && row.Case.Keep == call.Case.Keep
                && !row.Part.StartsWith("attend", StringComparison.Ordinal)),
        ];
        return others.Length > 0 ? call.Statistics.Median - others.Sum(row => row.Statistics.Median) : null;
    }

    private static void WriteBreakEven(TextWriter output, BenchReport report)
    {
        BenchRow[] dense = [.. report.Rows.Where(row => row is { IsOwn: true, Case.Workload: Workloads.Dense })];
        if (dense.Select(row => row.Case.Length).Distinct().Count() < 2)
            return;
        foreach (var sparse in report.Rows.Where(row => row is { IsOwn: true, Case.Workload: Workloads.TokenSparse })
            .GroupBy(row => (row.Implementation, row.Case.Keep)))
        {
            string keep = sparse.Key.Keep is { } share ? Text($" at keep {share:0.###}") : "";
            string from = BreakEven(dense, sparse) is { } length
                ? $"from {BenchCase.LengthName(length)} tokens on"
                : "at none of these lengths";
            output.WriteLine();
            output.WriteLine($"{sparse.Key.Implementation}{keep} is faster than {dense[0].Implementation} {from}.");
        }
    }

    private static string What(BenchCase of) => $"{of.Workload}, {BenchCase.MaskName(of.Mask)}{(of.Graph ? ", graph" : "")}";

    private static string Positive(double value, string format) =>
        value > 0 ? value.ToString(format, CultureInfo.InvariantCulture) : "";

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
