using System.Linq;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Model;

/// <summary>What the user wrote, as values: one declared pipeline.</summary>
/// <remarks>
/// Every type in this folder is immutable and structurally equal, down to its members, and holds neither symbols nor syntax
/// nor locations: equal text gives an equal model, which is what lets the compiler skip all later steps.
/// </remarks>
internal sealed record PipelineSpec(
    TypeSpec Type,
    AttentionMask Mask,
    int HeadDim,
    ElementType Element,
    EquatableArray<StageSpec> Stages,
    RulesSpec Rules);

/// <summary>The declaring class.</summary>
/// <param name="Namespace">Its namespace as it is spelt in C#; empty for the global one.</param>
/// <param name="Name">Its name without namespace or container.</param>
/// <param name="Identifier">Its name as it is spelt in C#, with an @ where it is a keyword.</param>
/// <param name="Containers">Declarations of the types around it, outermost first, such as <c>partial class Outer</c>.</param>
/// <param name="ContainerNames">Names of the types around it, outermost first.</param>
internal sealed record TypeSpec(
    string Namespace, string Name, string Identifier, EquatableArray<string> Containers, EquatableArray<string> ContainerNames)
{
    public string FullName =>
        (Namespace.Length == 0 ? "" : Namespace.Replace("@", "") + ".") + string.Concat(ContainerNames.Select(name => name + ".")) + Name;
}
