using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Parsing;

/// <summary>Methods of the platform that have a device form.</summary>
internal static class RuleFunctions
{
    private static readonly HashSet<string> s_types =
        ["System.Math", "System.MathF", "System.Single", "System.Int32", KnownTypeNames.RuleMath];

    private static readonly Dictionary<string, int> s_operands = new()
    {
        ["Abs"] = 1, ["Min"] = 2, ["Max"] = 2, ["Clamp"] = 3, ["Sqrt"] = 1, ["Floor"] = 1, ["Ceiling"] = 1, ["Truncate"] = 1, ["Round"] = 1,
        ["FusedMultiplyAdd"] = 3, ["CopySign"] = 2, ["Exp"] = 1, ["Log"] = 1, ["Log2"] = 1, ["Pow"] = 2, ["Tanh"] = 1, ["FastTanh"] = 1, ["SoftCap"] = 2,
        ["IsNaN"] = 1, ["IsFinite"] = 1,
    };

    private static readonly HashSet<string> s_ofInts = ["Abs", "Min", "Max", "Clamp"];

    /// <summary>Whether there is a function of a name.</summary>
    public static bool IsKnown(string name) => s_operands.ContainsKey(name);

    /// <summary>The function that a method is; null for any other.</summary>
    public static RuleFunction? Find(IMethodSymbol method)
    {
        if (!method.IsStatic || !s_types.Contains(AttributeReader.MetadataName(method.ContainingType))
            || !s_operands.TryGetValue(method.Name, out int operands) || method.Parameters.Length != operands)
            return null;
        bool AllAre(SpecialType type) => method.Parameters.All(p => p.Type.SpecialType == type);
        return AllAre(SpecialType.System_Single) || (AllAre(SpecialType.System_Int32) && s_ofInts.Contains(method.Name))
            ? (RuleFunction)Enum.Parse(typeof(RuleFunction), method.Name)
            : null;
    }

    /// <summary>What to write instead of a method.</summary>
    public static string Instead(IMethodSymbol method) => AttributeReader.MetadataName(method.ContainingType) switch
    {
        "System.Math" or "System.MathF" or "System.Single" when s_operands.TryGetValue(method.Name, out int operands) =>
            $"write MathF.{method.Name} of {operands} float argument{(operands == 1 ? "" : "s")}",
        "System.Math" or "System.MathF" or "System.Single" =>
            $"of MathF a rule may call {string.Join(", ", s_operands.Keys.Where(name => name is not ("FastTanh" or "SoftCap" or "IsNaN" or "IsFinite")))}; "
            + "give other functions as a table, a ReadOnlySpan<float> parameter",
        _ => "a rule calls MathF, Math and static methods of its own class",
    };
}
