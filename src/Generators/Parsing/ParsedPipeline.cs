using System.Linq;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Parsing;

/// <summary>
/// What parsing found: the model, and apart from it where things stand in the file. Moving a declaration changes only the
/// places, so it reports diagnostics anew and emits nothing anew.
/// </summary>
/// <param name="Spec">The model; null where the class itself cannot be extended.</param>
/// <param name="Places">Where the pipeline and its stages stand.</param>
/// <param name="Diagnostics">What parsing itself refused.</param>
internal sealed record ParsedPipeline(PipelineSpec? Spec, PlacesSpec Places, EquatableArray<DiagnosticInfo> Diagnostics);

/// <summary>Where a declaration's parts stand.</summary>
/// <param name="Class">The class name.</param>
/// <param name="Pipeline">The [AttentionPipeline] attribute.</param>
/// <param name="Stages">The stage attributes, in declared order.</param>
internal sealed record PlacesSpec(LocationSpec? Class, AttributePlace Pipeline, EquatableArray<AttributePlace> Stages)
{
    /// <summary>The narrowest place known for a problem.</summary>
    public LocationSpec? Of(Problem problem)
    {
        if (problem.Stage < 0 && problem.Argument.Length == 0)
            return Class;
        return (problem.Stage < 0 ? Pipeline : Stages[problem.Stage]).Of(problem.Argument) ?? Class;
    }
}

/// <summary>Where an attribute and its named arguments stand.</summary>
internal sealed record AttributePlace(LocationSpec? Location, EquatableArray<ArgumentPlace> Arguments)
{
    /// <summary>The place of an argument; of the attribute where it has none of that name.</summary>
    public LocationSpec? Of(string argument) => Arguments.FirstOrDefault(a => a.Name == argument)?.Location ?? Location;
}

/// <summary>Where a named argument stands.</summary>
internal sealed record ArgumentPlace(string Name, LocationSpec? Location);
