using System.Reflection;

namespace AttnCompose.Architecture;

/// <summary>The built-in stages.</summary>
internal static class Stages
{
    public static Assembly Assembly { get; } = Assembly.Load("AttnCompose.Pipelines");

    public static IReadOnlyList<Type> All { get; } =
        [.. Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(StageAttribute)) && !type.IsAbstract).OrderBy(type => type.Name)];
}
