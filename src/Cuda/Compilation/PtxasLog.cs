using System.Globalization;
using System.Text.RegularExpressions;

namespace AttnCompose.Cuda;

/// <summary>Reads what the assembler reports under <c>-Xptxas=-v</c>.</summary>
internal static partial class PtxasLog
{
    public static IReadOnlyList<EntryReport> Parse(string log)
    {
        var entries = new List<EntryReport>();
        // Every "Compiling entry function" opens a section; numbers before the first one belong to the whole text.
        MatchCollection openings = Opening().Matches(log);
        for (int i = 0; i < openings.Count; i++)
        {
            int begin = openings[i].Index;
            string section = log[begin..(i + 1 < openings.Count ? openings[i + 1].Index : log.Length)];
            entries.Add(new EntryReport(
                openings[i].Groups[1].Value,
                Number(Registers(), section), Number(Stack(), section), Number(SpillStores(), section),
                Number(SpillLoads(), section), Number(Shared(), section), Sum(Constant(), section), Number(Barriers(), section)));
        }
        return entries;
    }

    public static IReadOnlyList<string> Warnings(string log) =>
        [.. log.Split('\n').Select(line => line.Trim()).Where(line => Warning().IsMatch(line))];

    private static int Number(Regex pattern, string text) =>
        pattern.Match(text) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 0;

    private static int Sum(Regex pattern, string text) =>
        pattern.Matches(text).Sum(match => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));

    [GeneratedRegex(@"Compiling entry function '([^']+)'")]
    private static partial Regex Opening();

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex Registers();

    [GeneratedRegex(@"(\d+) bytes stack frame")]
    private static partial Regex Stack();

    [GeneratedRegex(@"(\d+) bytes spill stores")]
    private static partial Regex SpillStores();

    [GeneratedRegex(@"(\d+) bytes spill loads")]
    private static partial Regex SpillLoads();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();

    [GeneratedRegex(@"(\d+) bytes cmem\[\d+\]")]
    private static partial Regex Constant();

    [GeneratedRegex(@"used (\d+) barriers")]
    private static partial Regex Barriers();

    // Lost performance (serialised wgmma, ignored setmaxnreg) is reported as "info" with a number of the 75xx family.
    [GeneratedRegex(@"\bwarning\b|\(C75\d\d\)|Potential Performance Loss", RegexOptions.IgnoreCase)]
    private static partial Regex Warning();
}
