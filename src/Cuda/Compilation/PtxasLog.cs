using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace AttnCompose.Cuda;

/// <summary>
/// Reads what the assembler reports under <c>-Xptxas=-v</c>, and what is counted in the PTX and added to its log.
/// </summary>
internal static partial class PtxasLog
{
    public static IReadOnlyList<EntryReport> Parse(string log)
    {
        var entries = new List<EntryReport>();
        Dictionary<string, (int Wgmma, int Mma)> products = Counted().Matches(log).ToDictionary(
            line => line.Groups[1].Value, line => (Int(line.Groups[2]), Int(line.Groups[3])));
        // Every "Compiling entry function" opens a section; numbers before the first one belong to the whole text.
        MatchCollection openings = Opening().Matches(log);
        for (int i = 0; i < openings.Count; i++)
        {
            int begin = openings[i].Index;
            string section = log[begin..(i + 1 < openings.Count ? openings[i + 1].Index : log.Length)];
            string name = openings[i].Groups[1].Value;
            (int wgmma, int mma) = products.GetValueOrDefault(name);
            entries.Add(new EntryReport(
                name, Number(Registers(), section), Number(Stack(), section), Number(SpillStores(), section),
                Number(SpillLoads(), section), Number(Shared(), section), Sum(Constant(), section),
                Number(Barriers(), section), wgmma, mma));
        }
        return entries;
    }

    public static IReadOnlyList<string> Warnings(string log) =>
        [.. log.Split('\n').Select(line => line.Trim()).Where(line => Warning().IsMatch(line))];

    /// <summary>A line for each entry point of a PTX text: how many tensor core instructions it has.</summary>
    public static string CountProducts(string ptx)
    {
        var lines = new StringBuilder();
        MatchCollection entries = Entry().Matches(ptx);
        for (int i = 0; i < entries.Count; i++)
        {
            int begin = entries[i].Index;
            ReadOnlySpan<char> body = ptx.AsSpan(begin, (i + 1 < entries.Count ? entries[i + 1].Index : ptx.Length) - begin);
            (int wgmma, int mma) = (body.Count("wgmma.mma_async"), body.Count("mma.sync"));
            lines.Append(
                CultureInfo.InvariantCulture, $"\nptx info    : Entry '{entries[i].Groups[1].Value}' has {wgmma} wgmma, {mma} mma");
        }
        return lines.ToString();
    }

    private static int Int(Group group) => int.Parse(group.ValueSpan, CultureInfo.InvariantCulture);

    private static int Number(Regex pattern, string text) =>
        pattern.Match(text) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 0;

    private static int Sum(Regex pattern, string text) =>
        pattern.Matches(text).Sum(match => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));

    [GeneratedRegex(@"Compiling entry function '([^']+)'")]
    private static partial Regex Opening();

    [GeneratedRegex(@"Entry '([^']+)' has (\d+) wgmma, (\d+) mma")]
    private static partial Regex Counted();

    [GeneratedRegex(@"\.entry (\w+)")]
    private static partial Regex Entry();

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
