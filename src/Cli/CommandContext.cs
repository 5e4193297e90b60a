namespace AttnCompose.Cli;

/// <summary>What every command is given.</summary>
/// <param name="pipelines">The pipelines that can be named.</param>
/// <param name="output">Where results go.</param>
/// <param name="error">Where errors and progress go.</param>
internal sealed class CommandContext(IReadOnlyList<PipelineDescriptor> pipelines, TextWriter output, TextWriter error)
{
    public IReadOnlyList<PipelineDescriptor> Pipelines => pipelines;

    public TextWriter Output => output;

    public TextWriter Error => error;

    /// <summary>Whether to say more than the results.</summary>
    public bool Verbose { get; set; }

    /// <summary>Whether people watch: the writer is the process's own and no pipe.</summary>
    public bool IsInteractive => ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected;

    /// <summary>The pipeline of a name.</summary>
    /// <exception cref="UsageException">There is none.</exception>
    public PipelineDescriptor Find(string name) =>
        pipelines.FirstOrDefault(pipeline => pipeline.Name == name)
        ?? throw new UsageException(
            $"There is no pipeline '{name}'. There are: {string.Join(", ", pipelines.Select(pipeline => pipeline.Name))}.");
}

/// <summary>The command line asks for something that does not exist or is out of range: exit code 2.</summary>
internal sealed class UsageException(string message) : Exception(message);

/// <summary>The command could not do its work, for a reason that is the user's to know: exit code 1.</summary>
internal sealed class CommandException(string message) : Exception(message);
