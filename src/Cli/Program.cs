using AttnCompose.Cli;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

if (KernelWorker.TryServe(args))
    return 0;
return new CommandLine(ReadyPipelines.All, Console.Out, Console.Error).Run(args);
