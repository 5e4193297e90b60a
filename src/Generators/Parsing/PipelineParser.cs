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
    public static ParsedPipeline? Parse(GeneratorAttributeSyntaxContext context, CancellationToken cancellation)
    {
        if (context.TargetSymbol is not INamedTypeSymbol type || context.Attributes.Length == 0)
            return null;
        AttributeData pipeline = context.Attributes[0];
        LocationSpec? at = LocationSpec.From(type.Locations.FirstOrDefault());

        var stages = new List<StageSpec>();
        var places = new List<AttributePlace>();
        foreach (AttributeData attribute in type.GetAttributes())
        {
            cancellation.ThrowIfCancellationRequested();
            if (StageParser.Parse(attribute) is not { } stage)
                continue;
            stages.Add(stage);
            places.Add(AttributeReader.Place(attribute, cancellation));
        }
        var where = new PlacesSpec(at, AttributeReader.Place(pipeline, cancellation), places.ToEquatableArray());

        if (Refuse(type, context.TargetNode, cancellation) is { } refusal)
            return new ParsedPipeline(null, where, [refusal with { Location = at }]);

        var spec = new PipelineSpec(
            ParseType(type),
            pipeline.Argument("Mask", AttentionMask.Full),
            pipeline.Argument("HeadDim", 0),
            pipeline.Argument("Element", ElementType.Any),
            stages.ToEquatableArray());
        return new ParsedPipeline(spec, where, []);
    }

    private static DiagnosticInfo? Refuse(INamedTypeSymbol type, SyntaxNode node, CancellationToken cancellation)
    {
        if (node is RecordDeclarationSyntax)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is a record; declare a class");
        if (node is not ClassDeclarationSyntax declaration || !declaration.Modifiers.Any(SyntaxKind.PartialKeyword))
            return Say(DiagnosticDescriptors.NotPartial, type.Name);
        if (type.IsStatic)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is static");
        if (type.IsAbstract)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is abstract");
        if (type.IsFileLocal)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is file-local, so that no other file can add to it");
        if (type.IsGenericType)
            return Say(DiagnosticDescriptors.CannotExtend, type.Name, "it is generic");
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
            type.ContainingNamespace is { IsGlobalNamespace: false } ns ? ns.ToDisplayString() : "",
            type.Name,
            Escape(type.Name),
            containers.Select(c => $"partial {Keyword(c)} {Escape(c.Name)}").ToEquatableArray(),
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

    private static string Escape(string name) => SyntaxFacts.GetKeywordKind(name) == SyntaxKind.None ? name : "@" + name;
}
