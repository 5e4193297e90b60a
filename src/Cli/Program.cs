using AttnCompose.Cli;
using AttnCompose.Pipelines;

return new CommandLine(ReadyPipelines.All, Console.Out, Console.Error).Run(args);
