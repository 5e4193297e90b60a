using System.CommandLine;
using System.Globalization;
using AttnCompose.Conformance;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose verify</c>: the ready pipelines on a device against arithmetic in double, over random configurations.</summary>
internal static class VerifyCommand
{
    private const int MostFailuresShown = 20;
    private static readonly TimeSpan s_progressInterval = TimeSpan.FromSeconds(5);

    /// <summary>What takes seconds at the very most, a thousand repeats and a compilation included, hangs when it takes this long.</summary>
    private static readonly TimeSpan s_hangs = TimeSpan.FromSeconds(120);

    public static Command Create(CommandContext context)
    {
        Option<string> device = CommonOptions.Device();
        var count = new Option<int>("--count") { Description = "Random configurations.", DefaultValueFactory = _ => 200 };
        var seed = new Option<int>("--seed") { Description = "Which ones.", DefaultValueFactory = _ => 1 };
        var replay = new Option<string?>("--replay")
        {
            Description = "Runs the one configuration that a failure's replay line names.",
            HelpName = "line",
        };
        var command = new Command("verify", "Check the ready pipelines on a device against the definition, in double.")
        {
            device, count, seed, replay,
        };
        command.SetAction(parsed =>
        {
            PipelineConfig[] configs = parsed.GetValue(replay) is { } line
                ? [ParseReplay(line)]
                : Draw(parsed.GetValue(count), parsed.GetValue(seed));
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            using CudaDevice? compiler = opened is CudaDevice cuda ? AttentionDevice.Cuda(cuda.Ordinal) : null;
            VerifyProgress result = Run(context, new Verifier(opened, compiler), configs);
            WriteSummary(context.Output, opened, result);
            return result.Failed == 0 && result.Done == result.Total ? 0 : CommandLine.Failure;
        });
        return command;
    }

    private static VerifyProgress Run(CommandContext context, Verifier verifier, PipelineConfig[] configs)
    {
        TimeSpan next = s_progressInterval;
        int shown = 0;
        // A kernel that never ends cannot be stopped from outside; the process can.
        using var watch = new Timer(
            _ =>
            {
                if (verifier.OnDevice is { } running && verifier.Elapsed - running.Since > s_hangs)
                {
                    context.Output.WriteLine(Text($"FAILED hangs on the device for {s_hangs.TotalSeconds:0} s\n  replay: {running.Config}"));
                    context.Output.Flush();
                    Environment.Exit(CommandLine.Failure);
                }
            },
            null, s_progressInterval, s_progressInterval);
        return verifier.Run(
            configs,
            failures =>
            {
                foreach (string failure in failures.Take(2))
                {
                    if (shown++ < MostFailuresShown)
                        context.Output.WriteLine($"FAILED {failure}");
                }
            },
            progress =>
            {
                if (progress.Elapsed < next || progress.Done == progress.Total)
                    return;
                next = progress.Elapsed + s_progressInterval;
                context.Error.WriteLine(Text(
                    $"{progress.Done} of {progress.Total}, {progress.Failed} failed, {progress.Elapsed.TotalSeconds:0} s"));
            });
    }

    private static void WriteSummary(TextWriter output, AttentionDevice device, VerifyProgress result)
    {
        output.WriteLine(device);
        if (result.KernelTexts > 0)
            output.WriteLine(Text($"  {result.Kernels} kernels in {result.KernelTexts} kernel texts"));
        output.WriteLine(Text($"  {result.Repeats} repeated runs compared bit for bit"));
        if (result.SelectionsCompared > 0)
            output.WriteLine(Text($"  {result.SelectionsCompared} heads' tokens chosen again on the CPU from the device's scores"));
        if (result.Worst is { } worst)
            output.WriteLine(Text($"  largest error {result.LargestError:0.00} of what is allowed, in: {worst}"));
        output.WriteLine(Text(
            $"{result.Done} of {result.Total} configurations, {result.Failed} failed, {result.Elapsed.TotalSeconds:0.0} s ({result.DeviceTime.TotalSeconds:0.0} s on the device)"));
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static PipelineConfig[] Draw(int count, int seed)
    {
        if (count < 1)
            throw new UsageException($"--count takes a number from 1 on; got {count}.");
        return [.. Enumerable.Range(0, count).Select(i => ReadyConfigs.Random(unchecked(seed * 1_000_003 + i)))];
    }

    private static PipelineConfig ParseReplay(string line)
    {
        try
        {
            return PipelineConfig.Parse(line);
        }
        catch (Exception error) when (error is FormatException or ArgumentException or OverflowException)
        {
            throw new UsageException($"--replay: {CommandLine.OneLine(error.Message)}");
        }
    }
}
