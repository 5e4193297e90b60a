using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Parsing;

/// <summary>Stage attribute to <see cref="StageSpec"/>. Knows the kinds of stages and no stage by name.</summary>
internal static class StageParser
{
    private const string Suffix = "Attribute";

    // Members that the class of a pipeline's tensors has anyway, and its own names.
    private static readonly string[] s_tensorMembers =
    [
        "Set", "Tensors", "CudaTensors", "Equals", "GetHashCode", "GetType", "ToString", "MemberwiseClone", "ReferenceEquals", "Finalize",
    ];

    /// <summary>The stage that an attribute declares; null where it is no stage.</summary>
    public static StageSpec? Parse(AttributeData attribute)
    {
        if (attribute.AttributeClass is not { TypeKind: TypeKind.Class } type || KindOf(type) is not { } kind)
            return null;
        var parameters = ParameterProperties(type).Select(p => ParseParameter(p, attribute)).OfType<ParameterSpec>().ToEquatableArray();
        return new StageSpec(
            kind, NameOf(type), type.ToDisplayString(SymbolDisplayFormat.FullyQualifiedFormat), ParseDevice(type), parameters)
        {
            IsBudget = DerivesFrom(type, KnownTypeNames.TokenBudget),
            // Others are reported in the stage's own project.
            Tensors = DeviceAttributes(type).Where(a => a.IsNamed(KnownTypeNames.TensorArgument) && FaultOfTensor(type, a) is null)
                .Select(a => ParseTensor(a, parameters)).ToEquatableArray(),
        };
    }

    /// <summary>The stage that a token score rule becomes: the parameters of every token score, and those of the method.</summary>
    public static StageSpec TokenScoreOf(AttributeData attribute, TokenRuleSpec rule, IEnumerable<ParameterSpec> scalars)
    {
        IEnumerable<ParameterSpec> own = ParameterProperties(attribute.AttributeClass!).Select(p => ParseParameter(p, attribute)).OfType<ParameterSpec>();
        string[] reads = [.. new[] { TokenRuleSpec.Key, TokenRuleSpec.Value }.Where(name => rule.Method.Parameters.Any(p => p.Name == name))];
        string of = reads.Length == 0 ? "place" : string.Join(" and ", reads);
        var phase = new PhaseSpec(
            "token_scores", PhaseScope.KeyValueHeadKeyTile, reads.ToEquatableArray(), [BufferSpec.RawScores],
            scalars.Select(p => p.Name).ToEquatableArray(), AppliesRules: false, $"{rule.Method.CSharpName} of each prefix token, from its {of}");
        return new StageSpec(
            StageKind.TokenScore, rule.Method.CSharpName.TrimStart('@'), "TokenRule",
            new DeviceSpec(
                Assembly: "", "selection/token_rule.cuh", "TokenRuleScores", FusionPoint.None, [], [phase], Hook: null,
                [new BufferSpec(BufferSpec.RawScores, "float", "[batch, query heads, key length]")]),
            own.Concat(scalars).ToEquatableArray())
        {
            Rule = rule,
        };
    }

    /// <summary>
    /// Why generated code cannot make the stage that an attribute declares, and the argument at fault (empty for the whole
    /// attribute); null where it can.
    /// </summary>
    public static (string Argument, string Why)? Refuse(AttributeData attribute)
    {
        INamedTypeSymbol type = attribute.AttributeClass!;
        for (INamedTypeSymbol? local = type; local is not null; local = local.ContainingType)
        {
            if (local.IsFileLocal)
                return ("", "its type is file-local, and generated code is another file");
        }
        if (attribute.AttributeConstructor is { Parameters.Length: > 0 }
            || !type.InstanceConstructors.Any(c => c.Parameters.Length == 0 && c.DeclaredAccessibility >= Accessibility.Internal))
            return ("", "generated code makes it by a constructor without parameters; values go to named arguments");
        var parameters = new HashSet<string>(
            ParameterProperties(type).Where(p => ParameterAttributes(p).Any() && ParameterType(p.Type) is not null).Select(p => p.Name));
        foreach (KeyValuePair<string, TypedConstant> argument in attribute.NamedArguments)
        {
            if (!parameters.Contains(argument.Key))
                return (argument.Key, $"'{argument.Key}' is no parameter of it, so that its value would be lost");
        }
        for (INamedTypeSymbol? t = type; t is not null; t = t.BaseType)
        {
            foreach (ISymbol member in t.GetMembers())
            {
                if (member is IPropertySymbol { IsRequired: true } or IFieldSymbol { IsRequired: true } && !parameters.Contains(member.Name))
                    return ("", $"its required member '{member.Name}' is no parameter, so that generated code has no value for it");
            }
        }
        return null;
    }

    /// <summary>Name of a stage: that of its attribute without the suffix.</summary>
    public static string NameOf(INamedTypeSymbol type) =>
        type.Name.EndsWith(Suffix, StringComparison.Ordinal) && type.Name.Length > Suffix.Length
            ? type.Name.Substring(0, type.Name.Length - Suffix.Length)
            : type.Name;

    /// <summary>Whether a type derives from StageAttribute.</summary>
    public static bool IsStage(INamedTypeSymbol type) => DerivesFrom(type, KnownTypeNames.Stage);

    /// <summary>Whether a type derives from one of a metadata name.</summary>
    public static bool DerivesFrom(INamedTypeSymbol type, string metadataName)
    {
        for (INamedTypeSymbol? t = type.BaseType; t is not null; t = t.BaseType)
        {
            if (AttributeReader.MetadataName(t) == metadataName)
                return true;
        }
        return false;
    }

    /// <summary>The kind of a stage type, from the kind attribute that it derives from.</summary>
    public static StageKind? KindOf(INamedTypeSymbol type)
    {
        for (INamedTypeSymbol? t = type.BaseType; t is not null; t = t.BaseType)
        {
            switch (AttributeReader.MetadataName(t))
            {
                case KnownTypeNames.TokenScore: return StageKind.TokenScore;
                case KnownTypeNames.TokenSelector: return StageKind.TokenSelector;
                case KnownTypeNames.Compress: return StageKind.Compress;
                case KnownTypeNames.BlockSelector: return StageKind.BlockSelector;
                case KnownTypeNames.AttentionKernel or KnownTypeNames.BlockAttentionKernel: return StageKind.AttentionKernel;
                case KnownTypeNames.Decompress: return StageKind.Decompress;
            }
        }
        return null;
    }

    /// <summary>
    /// Public settable instance properties of a stage type and its bases, base first, in declared order. One that overrides or
    /// hides another stands in its place.
    /// </summary>
    public static IEnumerable<IPropertySymbol> ParameterProperties(INamedTypeSymbol type)
    {
        var chain = new Stack<INamedTypeSymbol>();
        for (INamedTypeSymbol? t = type; t is not null && AttributeReader.MetadataName(t) != KnownTypeNames.Stage; t = t.BaseType)
            chain.Push(t);
        return chain
            .SelectMany(t => t.GetMembers().OfType<IPropertySymbol>())
            .Where(IsSettable)
            .GroupBy(p => p.Name)
            .Select(same => same.Last());
    }

    /// <summary>Whether an attribute argument can set a property.</summary>
    public static bool IsSettable(IPropertySymbol property) => property is
    {
        IsStatic: false,
        IsIndexer: false,
        DeclaredAccessibility: Accessibility.Public,
        SetMethod.DeclaredAccessibility: Accessibility.Public,
    };

    /// <summary>C# keyword of a type that a parameter may have, int for an enum of ints; null for any other type.</summary>
    public static string? ParameterType(ITypeSymbol type) => (EnumOf(type) ?? type).SpecialType switch
    {
        SpecialType.System_Double => "double",
        SpecialType.System_Single => "float",
        SpecialType.System_Int32 => "int",
        SpecialType.System_Boolean => "bool",
        _ => null,
    };

    /// <summary>The type that an enum is made of; null for any other type.</summary>
    public static INamedTypeSymbol? EnumOf(ITypeSymbol type) =>
        type is INamedTypeSymbol { EnumUnderlyingType: { SpecialType: SpecialType.System_Int32 } of } ? of : null;

    /// <summary>The [RuntimeParameter] and [ConstantParameter] of a property; one of them where it is well formed.</summary>
    public static IEnumerable<AttributeData> ParameterAttributes(IPropertySymbol property) => property.GetAttributes()
        .Where(a => a.IsNamed(KnownTypeNames.RuntimeParameter) || a.IsNamed(KnownTypeNames.ConstantParameter));

    /// <summary>What is wrong with the default and range of a parameter of a type; null where nothing is.</summary>
    public static string? FaultOfValues(string type, AttributeData kind)
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

    private static string Text(double value) => value.ToString("R", System.Globalization.CultureInfo.InvariantCulture);

    private static ParameterSpec? ParseParameter(IPropertySymbol property, AttributeData declared)
    {
        if (ParameterAttributes(property).FirstOrDefault() is not { } kind || ParameterType(property.Type) is not { } type)
            return null; // reported in the stage's own project
        double value = kind.ConstructorArgument(0, 0.0);
        foreach (KeyValuePair<string, TypedConstant> argument in declared.NamedArguments)
        {
            if (argument.Key == property.Name && AttributeReader.Number(argument.Value) is { } number)
                value = number;
        }
        return new ParameterSpec(
            property.Name, type, kind.IsNamed(KnownTypeNames.ConstantParameter), value,
            type == "bool" ? 0 : kind.Argument("Min", double.NegativeInfinity),
            type == "bool" ? 1 : kind.Argument("Max", double.PositiveInfinity),
            property.OriginalDefinition.GetDocumentationCommentId() ?? "",
            kind.Argument("MultipleOf", 0.0))
        {
            EnumName = EnumOf(property.Type) is null ? "" : property.Type.ToDisplayString(SymbolDisplayFormat.FullyQualifiedFormat),
        };
    }

    /// <summary>What is wrong with a tensor argument of a stage; null where nothing is.</summary>
    public static string? FaultOfTensor(INamedTypeSymbol stage, AttributeData attribute)
    {
        string name = attribute.ConstructorArgument(0, ""), element = attribute.ConstructorArgument(1, "");
        if (name.Length == 0 || name[0] is < 'a' or > 'z' || !name.All(c => c is >= 'a' and <= 'z' or >= '0' and <= '9' or '_')
            || Names.Snake(Names.Pascal(name)) != name)
            return "its name is not in snake case, such as query_gate";
        if (s_tensorMembers.Contains(Names.Pascal(name)))
            return $"the generated Tensors has a member {Names.Pascal(name)} of another meaning";
        if (Names.Reserved.Contains(name) || NamesOf(stage, KnownTypeNames.DeviceBuffer).Contains(name))
            return "a tensor of the problem or a [DeviceBuffer] of the stage has that name";
        if (!TensorSpec.ElementTypes.Contains(element))
            return $"its elements are '{element}', and they may be {string.Join(" or ", TensorSpec.ElementTypes)}";
        EquatableArray<string> shape = attribute.Strings("Shape");
        if (shape.Count == 0)
            return "it has no Shape";
        var constants = new HashSet<string>(ParameterProperties(stage)
            .Where(p => p.Type.SpecialType == SpecialType.System_Int32 && p.GetAttributes().Any(a => a.IsNamed(KnownTypeNames.ConstantParameter)))
            .Select(p => p.Name));
        string? unknown = shape.FirstOrDefault(
            extent => !ExtentSpec.Sizes.Contains(extent) && !constants.Contains(extent) && CountOf(extent) == 0);
        return unknown is null
            ? null
            : $"its Shape names '{unknown}', which is neither {string.Join(", ", ExtentSpec.Sizes)}, a [ConstantParameter] of type int "
                + "nor a whole number above 0";
    }

    /// <summary>First arguments of a stage's attributes of a name, those of its bases before its own.</summary>
    public static IEnumerable<string> NamesOf(INamedTypeSymbol stage, string attribute) =>
        DeviceAttributes(stage).Where(a => a.IsNamed(attribute)).Select(a => a.ConstructorArgument(0, ""));

    private static TensorSpec ParseTensor(AttributeData attribute, EquatableArray<ParameterSpec> parameters) => new(
        attribute.ConstructorArgument(0, ""), attribute.ConstructorArgument(1, ""),
        attribute.Strings("Shape").Select(extent => new ExtentSpec(extent, ExtentSpec.Sizes.Contains(extent) ? 0 : Count(extent, parameters)))
            .ToEquatableArray(),
        attribute.Argument("Summary", ""));

    private static int Count(string extent, EquatableArray<ParameterSpec> parameters) =>
        parameters.FirstOrDefault(p => p.Name == extent) is { } constant ? (int)constant.Value : CountOf(extent);

    private static int CountOf(string number) => int.TryParse(
        number, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int count) ? count : 0;

    /// <summary>Attributes of a stage type and of the stages that it derives from, base first.</summary>
    public static IEnumerable<AttributeData> DeviceAttributes(INamedTypeSymbol type)
    {
        IEnumerable<AttributeData> own = type.GetAttributes();
        return type.BaseType is { } parent && IsStage(parent) ? DeviceAttributes(parent).Concat(own) : own;
    }

    private static DeviceSpec? ParseDevice(INamedTypeSymbol type)
    {
        AttributeData? device = null;
        HookSpec? hook = null;
        GatherSpec? gather = null;
        var phases = new List<PhaseSpec>();
        var buffers = new List<BufferSpec>();
        foreach (AttributeData attribute in DeviceAttributes(type))
        {
            if (attribute.IsNamed(KnownTypeNames.DeviceStage))
            {
                device = attribute;
            }
            else if (attribute.IsNamed(KnownTypeNames.DevicePhase))
            {
                phases.Add(new PhaseSpec(
                    attribute.ConstructorArgument(0, ""), attribute.Argument("Scope", PhaseScope.Sequence),
                    attribute.Strings("Reads"), attribute.Strings("Writes"), attribute.Strings("Parameters"),
                    attribute.Argument("AppliesRules", false), attribute.Argument("Summary", "")));
            }
            else if (attribute.IsNamed(KnownTypeNames.DeviceHook))
            {
                hook = new HookSpec(
                    attribute.ConstructorArgument(0, FusionPoint.None), attribute.Strings("Reads"),
                    attribute.Strings("Parameters"), attribute.Argument("Summary", ""));
            }
            else if (attribute.IsNamed(KnownTypeNames.DeviceGather))
            {
                gather = new GatherSpec(
                    attribute.ConstructorArgument(0, ""), attribute.Argument("Key", ""), attribute.Argument("Value", ""),
                    attribute.Strings("Reads"), attribute.Argument("Summary", ""));
            }
            else if (attribute.IsNamed(KnownTypeNames.DeviceBuffer))
            {
                buffers.Add(new BufferSpec(
                    attribute.ConstructorArgument(0, ""), attribute.ConstructorArgument(1, "float"), attribute.Argument("Shape", "")));
            }
        }
        return device is null
            ? null
            : new DeviceSpec(
                type.ContainingAssembly?.Name ?? "", device.ConstructorArgument(0, ""), device.Argument("Type", ""),
                OffersOf(type, device), new EquatableArray<ElementType>(device.Enums<ElementType>("Elements")),
                phases.ToEquatableArray(), hook, buffers.ToEquatableArray()) { Gather = gather };
    }

    // Which of the two kernel bases it derives from says whether a kernel takes a block list, on the CPU and on a device alike.
    private static FusionPoint OffersOf(INamedTypeSymbol type, AttributeData device)
    {
        FusionPoint declared = device.Argument("Offers", FusionPoint.None) & ~FusionPoint.BlockList;
        return DerivesFrom(type, KnownTypeNames.BlockAttentionKernel) ? declared | FusionPoint.BlockList : declared;
    }
}
