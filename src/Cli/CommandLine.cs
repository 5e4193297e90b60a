using System.CommandLine;
using AttnCompose.Cli.Commands;

namespace AttnCompose.Cli;

/// <summary>
/// The program without the process: arguments in, text and an exit code out. The code is 0 only on success, 1 for a
/// failure, 2 for wrong usage; an error is one line, with a stack trace only under <c>--verbose</c> or ATTNCOMPOSE_TRACE=1.
/// </summary>
public sealed class CommandLine
{
    /// <summary>Exit code of a command that could not do its work.</summary>
    public const int Failure = 1;

    /// <summary>Exit code of wrong usage, an unknown pipeline or parameter and a value out of range included.</summary>
    public const int WrongUsage = 2;

    private readonly RootCommand _root;
    private readonly Option<bool> _verbose = new("--verbose") { Description = "Say more, and trace errors.", Recursive = true };
    private readonly CommandContext _context;

    /// <summary>A command line over the pipelines that can be named.</summary>
    /// <param name="pipelines">The pipelines.</param>
    /// <param name="output">Where results go. Progress is drawn only where it is the terminal.</param>
    /// <param name="error">Where errors go.</param>
    public CommandLine(IReadOnlyList<PipelineDescriptor> pipelines, TextWriter output, TextWriter error)
    {
        _context = new CommandContext(pipelines, output, error);
        _root = new RootCommand("Attention pipelines: run them on tensors, evaluate them in a model, time them, see how they were built.")
        {
            RunCommand.Create(_context),
            EvalCommand.Create(_context),
            VerifyCommand.Create(_context),
            WarmupCommand.Create(_context),
            BenchCommand.Create(_context),
            TuneCommand.Create(_context),
            CompareCommand.Create(_context),
            PlanCommand.Create(_context),
            DoctorCommand.Create(_context),
            _verbose,
        };
    }

    /// <summary>Runs one command line.</summary>
    /// <returns>The exit code.</returns>
    public int Run(IReadOnlyList<string> arguments)
    {
        ParseResult parsed = _root.Parse(arguments);
        string command = parsed.CommandResult.Command == _root ? "attncompose" : $"attncompose {parsed.CommandResult.Command.Name}";
        if (parsed.Errors.Count > 0)
            return Report(command, $"{OneLine(parsed.Errors[0].Message)} See '{command} --help'.", WrongUsage);
        try
        {
            _context.Verbose = parsed.GetValue(_verbose) || Environment.GetEnvironmentVariable("ATTNCOMPOSE_TRACE") == "1";
            return parsed.Invoke(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                Output = _context.Output,
                Error = _context.Error,
            });
        }
        catch (UsageException error)
        {
            return Report(command, error.Message, WrongUsage);
        }
        catch (Exception error)
        {
            int code = Report(command, OneLine(error.Message), Failure);
            if (_context.Verbose)
                _context.Error.WriteLine(error);
            return code;
        }
    }

    private int Report(string command, string message, int code)
    {
        _context.Error.WriteLine($"{command}: {message}");
        return code;
    }

    /// <summary>The first line of an exception's message, without the parameter name that .NET appends to it.</summary>
    internal static string OneLine(string message)
    {
        string line = message.Split('\n', 2)[0].TrimEnd('\r', ' ');
        int appended = line.LastIndexOf(" (Parameter '", StringComparison.Ordinal);
        return appended > 0 && line.EndsWith("')", StringComparison.Ordinal) ? line[..appended] : line;
    }
}
