using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace AttnCompose.Generators.Parsing;

/// <summary>Reads attribute data that may be half written: whatever is missing or of the wrong type is as if it were not there.</summary>
internal static class AttributeReader
{
    public static bool IsNamed(this AttributeData attribute, string metadataName) =>
        attribute.AttributeClass is { } type && MetadataName(type) == metadataName;

    /// <summary>Full metadata name of a type that is not nested; empty for a nested one, which is never a known type.</summary>
    public static string MetadataName(INamedTypeSymbol type) =>
        type.ContainingType is not null ? "" : type.ContainingNamespace is { IsGlobalNamespace: false } ns ? ns.ToDisplayString() + "." + type.MetadataName : type.MetadataName;

    public static T Argument<T>(this AttributeData attribute, string name, T otherwise)
    {
        foreach (KeyValuePair<string, TypedConstant> argument in attribute.NamedArguments)
        {
            if (argument.Key == name)
                return Value(argument.Value, otherwise);
        }
        return otherwise;
    }

    public static T ConstructorArgument<T>(this AttributeData attribute, int index, T otherwise) =>
        attribute.ConstructorArguments.Length > index ? Value(attribute.ConstructorArguments[index], otherwise) : otherwise;

    public static EquatableArray<string> Strings(this AttributeData attribute, string name)
    {
        foreach (KeyValuePair<string, TypedConstant> argument in attribute.NamedArguments)
        {
            if (argument.Key == name && argument.Value is { Kind: TypedConstantKind.Array, IsNull: false } array)
                return array.Values.Select(v => Value(v, "")).Where(v => v.Length > 0).ToEquatableArray();
        }
        return [];
    }

    public static IEnumerable<TEnum> Enums<TEnum>(this AttributeData attribute, string name)
        where TEnum : struct, Enum
    {
        foreach (KeyValuePair<string, TypedConstant> argument in attribute.NamedArguments)
        {
            if (argument.Key == name && argument.Value is { Kind: TypedConstantKind.Array, IsNull: false } array)
                return array.Values.Select(v => Value(v, default(TEnum)));
        }
        return [];
    }

    /// <summary>A number, bool or enum constant as a double; null for anything else.</summary>
    public static double? Number(TypedConstant constant) =>
        constant.Kind is not (TypedConstantKind.Primitive or TypedConstantKind.Enum) ? null : constant.Value switch
    {
        bool flag => flag ? 1 : 0,
        sbyte or byte or short or ushort or int or uint or long or ulong or float or double => Convert.ToDouble(
            constant.Value, System.Globalization.CultureInfo.InvariantCulture),
        _ => null,
    };

    public static AttributePlace Place(AttributeData attribute, System.Threading.CancellationToken cancellation)
    {
        if (attribute.ApplicationSyntaxReference?.GetSyntax(cancellation) is not AttributeSyntax syntax)
            return new AttributePlace(null, []);
        IEnumerable<ArgumentPlace> arguments = syntax.ArgumentList is null
            ? []
            : syntax.ArgumentList.Arguments
                .Where(a => a.NameEquals is not null)
                .Select(a => new ArgumentPlace(a.NameEquals!.Name.Identifier.ValueText, LocationSpec.From(a.GetLocation())));
        return new AttributePlace(LocationSpec.From(syntax.GetLocation()), arguments.ToEquatableArray());
    }

    private static T Value<T>(TypedConstant constant, T otherwise)
    {
        if (constant.IsNull || constant.Kind is TypedConstantKind.Error or TypedConstantKind.Array)
            return otherwise;
        if (typeof(T).IsEnum)
            return constant.Value is int bits ? (T)Enum.ToObject(typeof(T), bits) : otherwise;
        return constant.Value is T value ? value : otherwise;
    }
}
