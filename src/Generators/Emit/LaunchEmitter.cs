using AttnCompose.Generators.Plan;

namespace AttnCompose.Generators.Emit;

/// <summary>Fusion plan to the C# that sizes the workspace and launches the kernels.</summary>
internal static class LaunchEmitter
{
    public static void Emit(SourceWriter writer, FusionPlan plan)
    {
    }
}
