using System;
using System.Linq;
using System.Text;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Emit;
using AttnCompose.Generators.Ir;
using AttnCompose.Generators.Lowering;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Parsing;
using AttnCompose.Generators.Plan;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

namespace AttnCompose.Generators;

/// <summary>
/// attributes → <see cref="PipelineSpec"/> → <see cref="StageGraph"/> → <see cref="FusionPlan"/> → CUDA, launch code, CPU path.
/// The incremental pipeline and nothing else: each arrow is a folder.
/// </summary>
[Generator(LanguageNames.CSharp)]
public sealed class AttentionPipelineGenerator : IIncrementalGenerator
{
    /// <inheritdoc/>
    public void Initialize(IncrementalGeneratorInitializationContext context)
    {
        // Only this step sees symbols. It runs on every edit; what it returns is a value, so the rest runs on a change alone.
        IncrementalValuesProvider<ParsedPipeline> parsed = context.SyntaxProvider
            .ForAttributeWithMetadataName(
                KnownTypeNames.AttentionPipeline,
                predicate: static (node, _) => node is TypeDeclarationSyntax,
                transform: static (found, cancellation) => PipelineParser.Parse(found, cancellation))
            .Where(static found => found is not null)
            .Select(static (found, _) => found!)
            .WithTrackingName(TrackingNames.Parse);

        // Places are left behind here: moving a declaration emits nothing anew.
        IncrementalValuesProvider<PipelineSpec> specs = parsed
            .Where(static found => found.Spec is not null)
            .Select(static (found, _) => found.Spec!)
            .WithTrackingName(TrackingNames.Spec);

        IncrementalValuesProvider<FusionPlan> plans = specs
            .Select(static (spec, _) => StageGraphBuilder.Build(spec).Graph)
            .Where(static graph => graph is not null)
            .Select(static (graph, _) => LoweringPipeline.Run(graph!))
            .WithTrackingName(TrackingNames.Plan);

        IncrementalValueProvider<EquatableArray<string>> ambiguous = specs
            .Select(static (spec, _) => spec.Type.FullName)
            .Collect()
            .Select(static (names, _) => names
                .GroupBy(name => name, StringComparer.OrdinalIgnoreCase)
                .Where(same => same.Count() > 1)
                .SelectMany(same => same)
                .ToEquatableArray());

        context.RegisterSourceOutput(plans.Combine(ambiguous), static (output, found) =>
        {
            (FusionPlan plan, EquatableArray<string> names) = found;
            foreach ((string hintName, string text) in PipelineSources.Of(plan, names.Contains(plan.Graph.Type.FullName)))
                output.AddSource(hintName, SourceText.From(text, Encoding.UTF8));
        });

        IncrementalValuesProvider<DiagnosticInfo> diagnostics = parsed
            .SelectMany(static (found, _) => DiagnosticsOf(found))
            .WithTrackingName(TrackingNames.Diagnostics);

        context.RegisterSourceOutput(diagnostics, static (output, diagnostic) => output.ReportDiagnostic(diagnostic.ToDiagnostic()));
    }

    private static EquatableArray<DiagnosticInfo> DiagnosticsOf(ParsedPipeline found)
    {
        if (found.Spec is null)
            return found.Diagnostics;
        return found.Diagnostics
            .Concat(StageGraphBuilder.Build(found.Spec).Problems.Select(p => new DiagnosticInfo(p.Id, found.Places.Of(p), p.Words)))
            .ToEquatableArray();
    }
}
