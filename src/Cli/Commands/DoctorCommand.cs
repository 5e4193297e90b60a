using System.CommandLine;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose doctor</c>: what was found on this machine and what that means.</summary>
internal static class DoctorCommand
{
    public static Command Create(CommandContext context)
    {
        var command = new Command("doctor", "Say what was found on this machine, where it was looked for, and what that means.");
        command.SetAction(_ =>
        {
            DoctorReport.Write(context.Output, CpuReport.Examine(), CudaDoctor.Examine());
            return 0;
        });
        return command;
    }
}
