using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace AttnCompose.Cli.Bench;

/// <summary>
/// How far a run has come: a bar with the time left on a terminal, a line of the error stream for each problem elsewhere.
/// </summary>
internal sealed class BenchProgress
{
    private readonly Action<string, double> _show;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly int _total;
    private double _done;

    private BenchProgress(int total, Action<string, double> show) => (_total, _show) = (total, show);

    /// <summary>Runs work that reports its progress in units of one problem.</summary>
    /// <param name="context">Where to show it.</param>
    /// <param name="total">Problems.</param>
    /// <param name="work">The work.</param>
    public static void Track(CommandContext context, int total, Action<BenchProgress> work)
    {
        if (!context.IsInteractive)
        {
            string last = "";
            work(new BenchProgress(total, (text, _) =>
            {
                // One line a problem: what follows the comma changes with every sample.
                string problem = text.Split(", ", 2)[0];
                if (problem != last)
                    context.Error.WriteLine(text);
                last = problem;
            }));
            return;
        }
        AnsiConsole.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn())
            .Start(bars =>
            {
                ProgressTask bar = bars.AddTask("starting", maxValue: total);
                work(new BenchProgress(total, (text, done) =>
                {
                    bar.Value = done;
                    bar.Description = Markup.Escape(text);
                }));
            });
    }

    /// <summary>Says what is being measured, and which share of it is done.</summary>
    public void Report(string problem, double share)
    {
        double done = _done + share;
        string left = done > 0 ? $", {TimeLeft(Stopwatch.GetElapsedTime(_start), done, _total)} left" : "";
        _show($"{problem}{left}", done);
    }

    /// <summary>The problem at hand is finished.</summary>
    public void Finish() => _done++;

    /// <summary>The time left, if problems take as long as those that are done.</summary>
    public static string TimeLeft(TimeSpan elapsed, double done, int total)
    {
        TimeSpan left = elapsed * ((total - done) / done);
        return left.ToString(left.TotalHours >= 1 ? @"h\:mm\:ss" : @"m\:ss", CultureInfo.InvariantCulture);
    }
}
