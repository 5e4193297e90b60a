using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Model;

/// <summary>A rule that a declaration breaks, found without Roslyn: what is at fault, and the words.</summary>
/// <param name="Id">The rule's id.</param>
/// <param name="Stage">Index of the stage at fault; -1 for the pipeline itself.</param>
/// <param name="Argument">Name of the attribute argument at fault; empty for the whole attribute.</param>
/// <param name="Words">Arguments of the message.</param>
internal sealed record Problem(string Id, int Stage, string Argument, EquatableArray<string> Words);
