using System.CommandLine;
using AttnCompose.Conformance;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Cli.Commands;

/// <summary>
/// <c>attncompose doctor</c>: what was found on this machine and what that means; with <c>--kernels</c>, what its compiler makes
/// of every kernel.
/// </summary>
internal static class DoctorCommand
{
    public static Command Create(CommandContext context)
    {
        var kernels = new Option<bool>("--kernels")
        {
            Description = "Compile the kernels of all pipelines as 'verify' runs them, and check what the assembler says of each.",
        };
        var architecture = new Option<string?>("--architecture")
        {
            Description = "With --kernels: compile for this architecture instead of the first GPU's; needs no GPU.",
            HelpName = "sm_90a",
        };
        var command = new Command("doctor", "Say what was found on this machine, where it was looked for, and what that means.")
        {
            kernels, architecture,
        };
        command.SetAction(parsed =>
        {
            if (!parsed.GetValue(kernels))
            {
                DoctorReport.Write(context.Output, CpuReport.Examine(), CudaDoctor.Examine());
                return 0;
            }
            string target = parsed.GetValue(architecture)
                ?? CudaDoctor.Examine().Gpus.FirstOrDefault(gpu => gpu.IsSupported)?.Architecture
                ?? throw new CommandException(
                    "There is no GPU to compile for; name an --architecture such as sm_90a. See 'attncompose doctor'.");
            KernelSource[] sources = [.. context.Pipelines.Select(pipeline => new KernelSource(
                pipeline.Name.Replace('-', '_'), pipeline.CudaSource, [typeof(ReadyPipelines).Assembly]))];
            bool isClean = KernelReport.Write(context.Output, context.Error, sources, ReadyConfigs.Variants, target);
            return isClean ? 0 : CommandLine.Failure;
        });
        return command;
    }
}
