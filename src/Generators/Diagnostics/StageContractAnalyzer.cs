using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.Globalization;
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
/// that a class to which stages are applied is a pipeline: the generator looks at no other class.
/// </summary>
[DiagnosticAnalyzer(LanguageNames.CSharp)]
public sealed class StageContractAnalyzer : DiagnosticAnalyzer
{
    private static readonly string[] s_tensors = ["query", "key", "value", "output", "token_index", "block_list", "heads"];

    /// <inheritdoc/>
    public override ImmutableArray<DiagnosticDescriptor> SupportedDiagnostics { get; } =
    [
        DiagnosticDescriptors.NoParameterKind, DiagnosticDescriptors.NoHeader, DiagnosticDescriptors.BadParameter,
        DiagnosticDescriptors.UnknownName, DiagnosticDescriptors.NotDeclared,
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
            Bad(PlaceOf(property), $"its type is {property.Type.ToDisplayString()}, and a parameter is a double, float, int or bool");
        }
        else if (FaultOfValues(type, kinds[0]) is { } fault)
        {
            Bad(PlaceOf(kinds[0], context.CancellationToken), fault);
        }

        void Bad(Location? place, string why) => Report(context, DiagnosticDescriptors.BadParameter, place, property.Name, why);
    }

    private static string? FaultOfValues(string type, AttributeData kind)
    {
        double value = kind.ConstructorArgument(0, 0.0);
        double min = kind.Argument("Min", double.NegativeInfinity);
        double max = kind.Argument("Max", double.PositiveInfinity);
        if (double.IsNaN(value) || double.IsInfinity(value))
            return $"its default is {Text(value)}, and a default is a finite number";
        // Written so that a bound that is not a number is a fault too.
        if (!(min <= max))
            return $"its range [{Text(min)}, {Text(max)}] is empty";
        if (type == "bool")
            return value is 0 or 1 ? null : $"its default is {Text(value)}, and the default of a bool is 0 or 1";
        if (!(value >= min && value <= max))
            return $"its default of {Text(value)} lies outside its own range [{Text(min)}, {Text(max)}]";
        double multiple = kind.Argument("MultipleOf", 0.0);
        if (!ParameterSpec.IsMultiple(value, multiple))
            return $"its default of {Text(value)} is no multiple of {Text(multiple)}";
        return ParameterSpec.CanHold(type, value) ? null : $"its default of {Text(value)} is no {type}";
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

    private static void CheckNames(SymbolAnalysisContext context, INamedTypeSymbol stage, AttributeData attribute, string who)
    {
        IEnumerable<string> buffers = StageParser.DeviceAttributes(stage)
            .Where(a => a.IsNamed(KnownTypeNames.DeviceBuffer))
            .Select(a => a.ConstructorArgument(0, ""));
        var tensors = new HashSet<string>(s_tensors.Concat(buffers), StringComparer.Ordinal);
        var parameters = new HashSet<string>(
            StageParser.ParameterProperties(stage).Where(p => StageParser.ParameterAttributes(p).Any()).Select(p => p.Name),
            StringComparer.Ordinal);
        CheckList("Reads", tensors);
        CheckList("Writes", tensors);
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

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
