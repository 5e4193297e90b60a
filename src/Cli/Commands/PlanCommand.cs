using System.CommandLine;

namespace AttnCompose.Cli.Commands;

/// <summary><c>attncompose plan NAME</c>: what the generator decided, or the CUDA that it emitted.</summary>
internal static class PlanCommand
{
    public static Command Create(CommandContext context)
    {
        var name = new Argument<string>("name") { Description = "The pipeline." };
        var cuda = new Option<bool>("--cuda") { Description = "Print the emitted CUDA instead." };
        var command = new Command("plan", "Print a pipeline's stages, kernels and buffers, and why each kernel is separate.") { name, cuda };
        command.SetAction(parsed =>
        {
            PipelineDescriptor pipeline = context.Find(parsed.GetRequiredValue(name));
            context.Output.WriteLine(parsed.GetValue(cuda) ? pipeline.CudaSource.TrimEnd('\n') : pipeline.Plan.ToString());
            return 0;
        });
        return command;
    }
}
