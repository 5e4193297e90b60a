using System.Collections.Generic;
using System.Linq;
using System.Threading;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Generators.Parsing;

/// <summary>Class symbol to <see cref="ParsedPipeline"/>. The one way from Roslyn's world into the model's.</summary>
internal static class PipelineParser
{
    /// <summary>What generated code declares in the class, stage fields aside.</summary>
    internal static readonly string[] GeneratedMembers =
    [
        "Plan", "Descriptor", "Create", "Configure", "Warmup", "Run", "Options", "Device", "Dispose", "CheckOptions", "MakeStages",
        "Tensors", "CudaTensors", "CudaText", "s_program", "_cpu", "_cuda", "ScoreRules", "_rules", "TokenRule", "_tokenRule",
    ];

    public static ParsedPipeline? Parse(GeneratorAttributeSyntaxContext context, CancellationToken cancellation)
    {
        if (context.TargetSymbol is not INamedTypeSymbol { Name.Length: > 0 } type || context.Attributes.Length == 0)
            return null;
        AttributeData pipeline = context.Attributes[0];
        if (!IsFirst(context.TargetNode, type))
            return null; // declared twice, which the compiler reports; the first one counts
        LocationSpec? at = LocationSpec.From(type.Locations.FirstOrDefault());

        var stages = new List<StageSpec>();
        var places = new List<AttributePlace>();
        var refusals = new List<DiagnosticInfo>();
        foreach (AttributeData attribute in type.GetAttributes())
        {
            cancellation.ThrowIfCancellationRequested();
            if (StageParser.Parse(attribute) is not { } stage)
                continue;
            AttributePlace place = AttributeReader.Place(attribute, cancellation);
            stages.Add(stage);
            places.Add(place);
            if (StageParser.Refuse(attribute) is var (argument, why))
                refusals.Add(new DiagnosticInfo(DiagnosticDescriptors.CannotMake.Id, place.Of(argument) ?? at, [stage.Name, why]));
        }
        (RulesSpec? rules, RuleParser.TokenRule? score, EquatableArray<DiagnosticInfo> rulesRefused) =
            RuleParser.Parse(type, context.SemanticModel.Compilation, cancellation);
        if (score is not null)
        {
            int first = PlaceOf(stages);
            stages.Insert(first, score.Stage);
            places.Insert(first, AttributeReader.Place(score.Attribute, cancellation));
        }
        var where = new PlacesSpec(at, AttributeReader.Place(pipeline, cancellation), places.ToEquatableArray());

        if (Refuse(type, context.TargetNode, cancellation) is { } refusal)
            return new ParsedPipeline(null, where, [refusal with { Location = at }]);
        if (refusals.Count > 0)
            return new ParsedPipeline(null, where, refusals.ToEquatableArray());

        if (rules is null)
            return new ParsedPipeline(null, where, rulesRefused);

        var spec = new PipelineSpec(
            ParseType(type),
            pipeline.Argument("Mask", AttentionMask.Full),
            pipeline.Argument("HeadDim", 0),
            pipeline.Argument("Element", ElementType.Any),
            stages.ToEquatableArray(),
            rules);
        return new ParsedPipeline(spec, where, []);
    }

    /// <summary>Where a token score that is a method stands: before the first budget without a score, else behind every selector.</summary>
    private static int PlaceOf(List<StageSpec> stages)
    {
        int end = 0;
        bool hasScore = false;
        for (int i = 0; i < stages.Count; i++)
        {
            if (stages[i].Kind is not (StageKind.TokenScore or StageKind.TokenSelector))
                continue;
            if (stages[i].IsBudget && !hasScore)
                return i;
            (end, hasScore) = (i + 1, stages[i].Kind == StageKind.TokenScore);
        }
        return end;
    }

    private static bool IsFirst(SyntaxNode node, INamedTypeSymbol type)
    {
        AttributeData? first = type.GetAttributes().FirstOrDefault(a => a.IsNamed(KnownTypeNames.AttentionPipeline));
        return first?.ApplicationSyntaxReference is { } at && at.SyntaxTree == node.SyntaxTree && node.Span.Contains(at.Span);
    }

    private static DiagnosticInfo? Refuse(INamedTypeSymbol type, SyntaxNode node, CancellationToken cancellation)
    {
        if (node is RecordDeclarationSyntax)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is a record; declare a class");
        if (type.TypeKind != TypeKind.Class)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is not a class");
        if (node is not ClassDeclarationSyntax declaration || !declaration.Modifiers.Any(SyntaxKind.PartialKeyword))
            return Say(DiagnosticDescriptors.NotPartial, type.Name);
        if (type.IsStatic)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is static");
        if (type.IsAbstract)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is abstract");
        if (type.IsGenericType)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is generic");
        if (type.BaseType is { SpecialType: not SpecialType.System_Object } parent)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, $"it derives from '{parent.Name}', and a pipeline class has no base class");
        if (type.InstanceConstructors.Any(c => !c.IsImplicitlyDeclared))
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it declares a constructor, and the generated Create makes its instances");
        if (GeneratedMembers.FirstOrDefault(name => name == type.Name || type.GetMembers(name).Length > 0) is { } taken)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, $"the generator adds a member '{taken}' to it, so that name is taken");
        for (INamedTypeSymbol? local = type; local is not null; local = local.ContainingType)
        {
            if (local.Name == "var")
                return Say(DiagnosticDescriptors.CannotExtend, type.Name, "a type named 'var' takes that word from generated code");
            if (local.IsFileLocal)
                return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is file-local, so that no other file can add to it");
        }
        for (INamedTypeSymbol? outer = type.ContainingType; outer is not null; outer = outer.ContainingType)
        {
            if (outer.IsGenericType)
                return Say(DiagnosticDescriptors.CannotExtend, type.Name, $"it is nested in the generic type '{outer.Name}'");
            bool partial = outer.DeclaringSyntaxReferences.Any(
                r => r.GetSyntax(cancellation) is TypeDeclarationSyntax t && t.Modifiers.Any(SyntaxKind.PartialKeyword));
            if (!partial)
                return Say(DiagnosticDescriptors.CannotExtend, type.Name, $"it is nested in '{outer.Name}', which is not partial");
        }
        return null;

        static DiagnosticInfo Say(DiagnosticDescriptor rule, params string[] words) => new(rule.Id, null, words.ToEquatableArray());
    }

    private static TypeSpec ParseType(INamedTypeSymbol type)
    {
        var containers = new Stack<INamedTypeSymbol>();
        for (INamedTypeSymbol? outer = type.ContainingType; outer is not null; outer = outer.ContainingType)
            containers.Push(outer);
        return new TypeSpec(
            NamespaceOf(type),
            type.Name,
            Names.CSharp(type.Name),
            containers.Select(c => $"partial {Keyword(c)} {Names.CSharp(c.Name)}").ToEquatableArray(),
            containers.Select(c => c.Name).ToEquatableArray());

        static string Keyword(INamedTypeSymbol t) => (t.IsRecord, t.TypeKind) switch
        {
            (true, TypeKind.Struct) => "record struct",
            (true, _) => "record",
            (_, TypeKind.Struct) => "struct",
            (_, TypeKind.Interface) => "interface",
            _ => "class",
        };
    }

    private static string NamespaceOf(INamedTypeSymbol type)
    {
        var parts = new Stack<string>();
        for (INamespaceSymbol? ns = type.ContainingNamespace; ns is { IsGlobalNamespace: false }; ns = ns.ContainingNamespace)
            parts.Push(Names.CSharp(ns.Name));
        return string.Join(".", parts);
    }
}
