using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.IO;
using System.Linq;
using System.Threading;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Parsing;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Diagnostics;

namespace AttnCompose.Generators.Diagnostics;

/// <summary>
/// Checks a stage where it is compiled: its parameters say what they are and can be used, its device header exists, and its
/// phases and hooks name what exists. A pipeline that uses the stage from another project cannot see these faults. Checks too
/// that a class with stages or rules is a pipeline: the generator looks at no other class.
/// </summary>
[DiagnosticAnalyzer(LanguageNames.CSharp)]
public sealed class StageContractAnalyzer : DiagnosticAnalyzer
{
    private static readonly string[] s_tensors = ["query", "key", "value", "output", "token_index", "block_list", "heads"];

    /// <inheritdoc/>
    public override ImmutableArray<DiagnosticDescriptor> SupportedDiagnostics { get; } =
    [
        DiagnosticDescriptors.NoParameterKind, DiagnosticDescriptors.NoHeader, DiagnosticDescriptors.BadParameter,
        DiagnosticDescriptors.UnknownName, DiagnosticDescriptors.BadTensor, DiagnosticDescriptors.NotDeclared,
        DiagnosticDescriptors.RuleOfNoPipeline,
    ];

    /// <inheritdoc/>
    public override void Initialize(AnalysisContext context)
    {
        context.EnableConcurrentExecution();
        context.ConfigureGeneratedCodeAnalysis(GeneratedCodeAnalysisFlags.Analyze | GeneratedCodeAnalysisFlags.ReportDiagnostics);
        context.RegisterCompilationStartAction(static start =>
        {
            var headers = new HashSet<string>(
                start.Options.AdditionalFiles.Select(file => Path.GetFileName(file.Path)), StringComparer.Ordinal);
            start.RegisterSymbolAction(symbol => Check(symbol, headers), SymbolKind.NamedType);
            start.RegisterSymbolAction(CheckRule, SymbolKind.Method);
        });
    }

    private static void Check(SymbolAnalysisContext context, HashSet<string> headers)
    {
        var stage = (INamedTypeSymbol)context.Symbol;
        CheckDeclared(context, stage);
        if (!StageParser.IsStage(stage))
            return;
        foreach (IPropertySymbol property in stage.GetMembers().OfType<IPropertySymbol>())
            CheckProperty(context, property);
        foreach (AttributeData attribute in stage.GetAttributes())
        {
            if (attribute.IsNamed(KnownTypeNames.DeviceStage))
                CheckHeader(context, stage, attribute, headers);
            else if (attribute.IsNamed(KnownTypeNames.DevicePhase))
                CheckNames(context, stage, attribute, attribute.ConstructorArgument(0, ""));
            else if (attribute.IsNamed(KnownTypeNames.DeviceHook))
                CheckNames(context, stage, attribute, "The hook");
            else if (attribute.IsNamed(KnownTypeNames.DeviceGather))
                CheckNames(context, stage, attribute, "The gathered row source");
            else if (attribute.IsNamed(KnownTypeNames.TensorArgument))
                CheckTensor(context, stage, attribute);
        }
    }

    private static void CheckDeclared(SymbolAnalysisContext context, INamedTypeSymbol type)
    {
        ImmutableArray<AttributeData> attributes = type.GetAttributes();
        if (attributes.Any(a => a.IsNamed(KnownTypeNames.AttentionPipeline)))
            return;
        AttributeData? applied = attributes.FirstOrDefault(a => a.AttributeClass is { } used && StageParser.IsStage(used));
        if (applied is not null)
        {
            Report(context, DiagnosticDescriptors.NotDeclared, PlaceOf(applied, context.CancellationToken),
                type.Name, StageParser.NameOf(applied.AttributeClass!));
        }
    }

    private static void CheckRule(SymbolAnalysisContext context)
    {
        var method = (IMethodSymbol)context.Symbol;
        if (RuleParser.KindOf(method).Any() && !method.ContainingType.GetAttributes().Any(a => a.IsNamed(KnownTypeNames.AttentionPipeline)))
            Report(context, DiagnosticDescriptors.RuleOfNoPipeline, PlaceOf(method), method.Name, method.ContainingType.Name);
    }

    private static void CheckProperty(SymbolAnalysisContext context, IPropertySymbol property)
    {
        AttributeData[] kinds = StageParser.ParameterAttributes(property).ToArray();
        if (kinds.Length == 0)
        {
            if (StageParser.IsSettable(property))
                Report(context, DiagnosticDescriptors.NoParameterKind, PlaceOf(property), property.Name);
        }
        else if (kinds.Length > 1)
        {
            Bad(PlaceOf(kinds[1], context.CancellationToken),
                "it is marked both [RuntimeParameter] and [ConstantParameter]; keep one of them");
        }
        else if (!StageParser.IsSettable(property))
        {
            Bad(PlaceOf(property), "a parameter is a public instance property with a public setter");
        }
        else if (StageParser.ParameterType(property.Type) is not { } type)
        {
            Bad(PlaceOf(property), $"its type is {property.Type.ToDisplayString()}, and a parameter is a double, float, int, bool or enum of ints");
        }
        else if (StageParser.EnumOf(property.Type) is not null && !kinds[0].IsNamed(KnownTypeNames.ConstantParameter))
        {
            Bad(PlaceOf(kinds[0], context.CancellationToken), "its type is an enum, which only a [ConstantParameter] can have");
        }
        else if (StageParser.FaultOfValues(type, kinds[0]) is { } fault)
        {
            Bad(PlaceOf(kinds[0], context.CancellationToken), fault);
        }

        void Bad(Location? place, string why) => Report(context, DiagnosticDescriptors.BadParameter, place, property.Name, why);
    }

    private static void CheckHeader(
        SymbolAnalysisContext context, INamedTypeSymbol stage, AttributeData attribute, HashSet<string> headers)
    {
        string header = attribute.ConstructorArgument(0, "");
        if (headers.Contains(header))
            return;
        Location? place = Syntax(attribute, context.CancellationToken)?.ArgumentList?.Arguments.FirstOrDefault()?.GetLocation()
            ?? PlaceOf(attribute, context.CancellationToken);
        Report(context, DiagnosticDescriptors.NoHeader, place, StageParser.NameOf(stage), header);
    }

    private static void CheckTensor(SymbolAnalysisContext context, INamedTypeSymbol stage, AttributeData attribute)
    {
        if (StageParser.FaultOfTensor(stage, attribute) is { } fault)
        {
            Report(context, DiagnosticDescriptors.BadTensor, PlaceOf(attribute, context.CancellationToken),
                attribute.ConstructorArgument(0, ""), fault);
        }
    }

    private static void CheckNames(SymbolAnalysisContext context, INamedTypeSymbol stage, AttributeData attribute, string who)
    {
        var written = new HashSet<string>(s_tensors.Concat(StageParser.NamesOf(stage, KnownTypeNames.DeviceBuffer)), StringComparer.Ordinal);
        if (StageParser.DerivesFrom(stage, KnownTypeNames.TokenBudget))
            written.Add(BufferSpec.RawScores); // of the score before it
        var read = new HashSet<string>(
            written.Concat(StageParser.NamesOf(stage, KnownTypeNames.TensorArgument)), StringComparer.Ordinal);
        var parameters = new HashSet<string>(
            StageParser.ParameterProperties(stage).Where(p => StageParser.ParameterAttributes(p).Any()).Select(p => p.Name),
            StringComparer.Ordinal);
        CheckList("Reads", read);
        CheckList("Writes", written);
        CheckList("Parameters", parameters);

        void CheckList(string list, HashSet<string> known)
        {
            foreach (string name in attribute.Strings(list).Where(name => !known.Contains(name)))
            {
                Report(context, DiagnosticDescriptors.UnknownName, PlaceOf(attribute, list, name, context.CancellationToken),
                    who, name, StageParser.NameOf(stage));
            }
        }
    }

    private static void Report(SymbolAnalysisContext context, DiagnosticDescriptor rule, Location? place, params object[] words) =>
        context.ReportDiagnostic(Diagnostic.Create(rule, place ?? context.Symbol.Locations.FirstOrDefault(), words));

    private static Location? PlaceOf(ISymbol symbol) => symbol.Locations.FirstOrDefault();

    private static Location? PlaceOf(AttributeData attribute, CancellationToken cancellation) =>
        attribute.ApplicationSyntaxReference is { } reference ? reference.GetSyntax(cancellation).GetLocation() : null;

    /// <summary>Where a name stands in a list of names; the list where it is not spelt out, as with a constant.</summary>
    private static Location? PlaceOf(AttributeData attribute, string list, string name, CancellationToken cancellation)
    {
        AttributeArgumentSyntax? argument = Syntax(attribute, cancellation)?.ArgumentList?.Arguments
            .FirstOrDefault(a => a.NameEquals?.Name.Identifier.ValueText == list);
        SyntaxNode? literal = argument?.DescendantNodes().OfType<LiteralExpressionSyntax>()
            .FirstOrDefault(l => l.Token.ValueText == name);
        return (literal ?? argument)?.GetLocation() ?? PlaceOf(attribute, cancellation);
    }

    private static AttributeSyntax? Syntax(AttributeData attribute, CancellationToken cancellation) =>
        attribute.ApplicationSyntaxReference?.GetSyntax(cancellation) as AttributeSyntax;
}
