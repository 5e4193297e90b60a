using System.Globalization;
using AttnCompose.Models;
using Spectre.Console;

namespace AttnCompose.Cli;

/// <summary>Shows how far an evaluation has come: a bar on a terminal, now and then a line of the error stream elsewhere.</summary>
internal static class EvalProgress
{
    private const int Lines = 10;

    public static EvaluationResult Track(
        CommandContext context, int prompts, Func<Action<EvaluationProgress>, EvaluationResult> evaluate)
    {
        if (!context.IsInteractive)
            return evaluate(progress => WriteLine(context.Error, progress));
        return AnsiConsole.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn())
            .Start(bars =>
            {
                ProgressTask bar = bars.AddTask("warming up", maxValue: prompts);
                return evaluate(progress =>
                {
                    bar.Value = progress.Done;
                    bar.Description = $"{progress.Done} of {progress.Total} prompts, {Text(progress.TimeLeft)} left";
                });
            });
    }

    private static void WriteLine(TextWriter writer, EvaluationProgress progress)
    {
        if (progress.Done * Lines / progress.Total > (progress.Done - 1) * Lines / progress.Total)
            writer.WriteLine($"{progress.Done} of {progress.Total} prompts, {Text(progress.TimeLeft)} left");
    }

    private static string Text(TimeSpan time) => time.ToString(time.TotalHours >= 1 ? @"h\:mm\:ss" : @"m\:ss", CultureInfo.InvariantCulture);
}
