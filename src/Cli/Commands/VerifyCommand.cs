using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using AttnCompose.Conformance;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Commands;

/// <summary>
/// <c>attncompose verify</c>: pipelines on a device against arithmetic in double, the ready ones over random configurations and those
/// of <see cref="PairConfigs"/>, and the suites of <see cref="DeviceSuites"/>.
/// </summary>
internal static class VerifyCommand
{
    private const string RandomSuite = "random";
    private const string PairSuite = "pairs";
    private const string AllSuites = "all";
    private const int MostFailuresShown = 20;
    private const int MostDrawsForOne = 10_000;
    private static readonly TimeSpan s_progressInterval = TimeSpan.FromSeconds(5);

    /// <summary>What takes seconds at the very most, a thousand repeats and a compilation included, hangs when it takes this long.</summary>
    private static readonly TimeSpan s_hangs = TimeSpan.FromSeconds(120);

    private static IEnumerable<string> SuiteNames => [RandomSuite, PairSuite, .. DeviceSuites.All.Select(suite => suite.Name), AllSuites];

    public static Command Create(CommandContext context)
    {
        Option<string> device = CommonOptions.Device();
        var suite = new Option<string>("--suite")
        {
            Description = $"What is checked: {string.Join(", ", SuiteNames)}. All but {RandomSuite} and {PairSuite} need a CUDA device.",
            HelpName = "name",
            DefaultValueFactory = _ => RandomSuite,
        };
        var count = new Option<int>("--count")
        {
            Description = $"Configurations of {RandomSuite}; those of {PairSuite} are given.", DefaultValueFactory = _ => 200,
        };
        var seed = new Option<int>("--seed") { Description = "Which ones.", DefaultValueFactory = _ => 1 };
        var where = new Option<string?>("--where")
        {
            Description = "Only configurations with these values, written as in a replay line: \"d=64 sparse=True\".",
            HelpName = "values",
        };
        var small = new Option<bool>("--small")
        {
            Description = $"Small configurations, run twice, for sanitizers; {ReadyConfigs.Texts} of them have every kernel.",
        };
        var unpoisoned = new Option<bool>("--unpoisoned")
        {
            Description = "Leaves the workspace as it was allocated, so that a memory checker sees reads of what nobody wrote.",
        };
        var failFast = new Option<bool>("--fail-fast") { Description = "Stops at the first failure." };
        var replay = new Option<string?>("--replay")
        {
            Description = "Runs the one configuration that a failure's replay line names.",
            HelpName = "line",
        };
        var command = new Command("verify", "Check the ready pipelines on a device against the definition, in double.")
        {
            device, suite, count, seed, where, small, unpoisoned, failFast, replay,
        };
        command.SetAction(parsed =>
        {
            string name = parsed.GetValue(suite)!;
            if (!SuiteNames.Contains(name))
                throw new UsageException($"There is no suite '{name}'. There are: {string.Join(", ", SuiteNames)}.");
            string? line = parsed.GetValue(replay);
            string values = parsed.GetValue(where) ?? "";
            if (line is not null && name is not RandomSuite)
                throw new UsageException($"--replay runs one configuration; got --suite {name} beside it.");
            using AttentionDevice opened = CommonOptions.OpenDevice(parsed.GetValue(device)!);
            if (name is not (RandomSuite or PairSuite) && opened is not CudaDevice)
                throw new UsageException($"--suite {name} needs a CUDA device; got '{parsed.GetValue(device)}'.");
            PipelineConfig[] configs =
            [
                .. name is not (RandomSuite or AllSuites) ? []
                    : line is not null ? [Parsed("--replay", () => PipelineConfig.Parse(line))]
                    : Draw(parsed.GetValue(count), parsed.GetValue(seed), values, parsed.GetValue(small)),
                .. name is PairSuite or AllSuites ? DrawPairs(parsed.GetValue(seed), values, parsed.GetValue(small)) : [],
            ];
            bool isRight = true;
            if (configs.Length > 0)
            {
                // Under a sanitizer every text is loaded once: its kernels are prepared for a long time.
                bool isSmall = parsed.GetValue(small);
                using CudaDevice? compiler = opened is CudaDevice cuda && !isSmall ? AttentionDevice.Cuda(cuda.Ordinal) : null;
                var verifier = new Verifier(opened, compiler)
                {
                    PoisonsWorkspace = !parsed.GetValue(unpoisoned), RepeatsOften = !isSmall,
                    StopsAtFailure = parsed.GetValue(failFast),
                };
                VerifyProgress result = RunConfigs(context, verifier, configs);
                WriteSummary(context.Output, opened, result, isSmall);
                isRight = result.Failed == 0 && result.Done == result.Total;
            }
            foreach (var (chosen, description, run) in DeviceSuites.All.Where(one => name is AllSuites || name == one.Name))
            {
                if (isRight || !parsed.GetValue(failFast))
                    isRight &= RunSuite(context, chosen, description, run((CudaDevice)opened), parsed.GetValue(failFast));
            }
            return isRight ? 0 : CommandLine.Failure;
        });
        return command;
    }

    private static VerifyProgress RunConfigs(CommandContext context, Verifier verifier, PipelineConfig[] configs)
    {
        TimeSpan next = s_progressInterval;
        int shown = 0;
        using Timer watch = Watch(context, () => verifier.OnDevice is { } running
            ? (verifier.Elapsed - running.Since, $"\n  replay: {running.Config}")
            : default);
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

    /// <summary>Runs the checks of a suite one after the other; whether all passed.</summary>
    private static bool RunSuite(
        CommandContext context, string name, string description, IEnumerable<SuiteCheck> checks, bool failFast)
    {
        var clock = Stopwatch.StartNew();
        (int done, int failed, string last, long since) = (0, 0, "none", 0);
        using (Watch(context, () => (
            clock.Elapsed - TimeSpan.FromTicks(Volatile.Read(ref since)), $" in {name}, behind: {Volatile.Read(ref last)}")))
        {
            foreach (SuiteCheck check in checks)
            {
                done++;
                Volatile.Write(ref since, clock.Elapsed.Ticks);
                Volatile.Write(ref last, check.Name);
                if (check.Failure is { } failure)
                {
                    if (failed++ < MostFailuresShown)
                        context.Output.WriteLine($"FAILED {name}: {check.Name}: {failure}");
                    if (failFast)
                        break;
                }
                else if (context.Verbose)
                {
                    context.Output.WriteLine(Text($"  {check.Name}: passed, {clock.Elapsed.TotalSeconds:0.0} s"));
                }
            }
        }
        context.Output.WriteLine(Text(
            $"{name} ({description}): {done} checks, {failed} failed, {clock.Elapsed.TotalSeconds:0.0} s"));
        return failed == 0 && done > 0;
    }

    /// <summary>Ends the process when what it does hangs: a kernel that never ends cannot be stopped from outside.</summary>
    private static Timer Watch(CommandContext context, Func<(TimeSpan Since, string What)> running)
    {
        int said = 0; // leaving may take its time too, under a sanitizer as an example
        return new(
            _ =>
            {
                if (running() is var (since, what) && since > s_hangs && Interlocked.Exchange(ref said, 1) == 0)
                {
                    context.Output.WriteLine(Text($"FAILED hangs on the device for {s_hangs.TotalSeconds:0} s{what}"));
                    context.Output.Flush();
                    Environment.Exit(CommandLine.Failure);
                }
            },
            null, s_progressInterval, s_progressInterval);
    }

    private static void WriteSummary(TextWriter output, AttentionDevice device, VerifyProgress result, bool listsKernels)
    {
        output.WriteLine(device);
        if (result.KernelTexts > 0)
            output.WriteLine(Text($"  {result.Kernels} kernels in {result.KernelTexts} kernel texts"));
        if (listsKernels && result.KernelTexts > 0)
        {
            output.WriteLine(Text($"  {result.Kernels - result.NotLaunched.Count} of them launched"));
            foreach (string kernel in result.NotLaunched)
                output.WriteLine($"  not launched: {kernel}");
        }
        output.WriteLine(Text($"  {result.Repeats} repeated runs compared bit for bit"));
        if (result.SelectionsCompared > 0)
            output.WriteLine(Text($"  {result.SelectionsCompared} heads' tokens chosen again on the CPU from the device's scores"));
        if (result.Worst is { } worst)
            output.WriteLine(Text($"  largest error {result.LargestError:0.00} of what is allowed, in: {worst}"));
        output.WriteLine(Text(
            $"{result.Done} of {result.Total} configurations, {result.Failed} failed, {result.Elapsed.TotalSeconds:0.0} s ({result.DeviceTime.TotalSeconds:0.0} s on the device)"));
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static PipelineConfig[] Draw(int count, int seed, string where, bool small)
    {
        if (count < 1)
            throw new UsageException($"--count takes a number from 1 on; got {count}.");
        var configs = new List<PipelineConfig>(count);
        for (long i = 0; configs.Count < count; i++)
        {
            if (i >= count * (long)MostDrawsForOne)
                throw new UsageException($"--where: hardly any configuration has '{where}'.");
            int number = unchecked(seed * 1_000_003 + (int)i);
            PipelineConfig config = small ? ReadyConfigs.Small((int)i, number) : ReadyConfigs.Random(number);
            if (Parsed("--where", () => config.Has(where)))
                configs.Add(config);
        }
        return [.. configs];
    }

    private static PipelineConfig[] DrawPairs(int seed, string where, bool small)
    {
        PipelineConfig[] configs = [.. PairConfigs.All(seed, small).Where(config => Parsed("--where", () => config.Has(where)))];
        return configs.Length > 0 ? configs : throw new UsageException($"--where: no configuration of {PairSuite} has '{where}'.");
    }

    private static T Parsed<T>(string option, Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (Exception error) when (error is FormatException or ArgumentException or OverflowException)
        {
            throw new UsageException($"{option}: {CommandLine.OneLine(error.Message)}");
        }
    }
}
