using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// A token score rule as member functions of a device struct, whose call operator is the rule. A token's vectors and the spans of
/// Run are read alike, so functions take either.
/// </summary>
internal static class DeviceTokenRule
{
    /// <summary>The lines of the functions, an empty one before each.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="members">Names that the struct has already.</param>
    /// <param name="argument">Name of the member that a parameter of the rule is given.</param>
    public static IEnumerable<string> Lines(TokenRuleSpec rule, IReadOnlyList<string> members, Func<string, string> argument)
    {
        var names = new NameSet(members);
        string at = names.Unique("at");
        var functions = new Dictionary<string, string>();
        foreach (RuleMethod method in rule.Helpers.Append(rule.Method))
            functions[method.Name] = names.Unique(Names.Device(Names.Snake(method.Name)), "_");
        foreach (RuleMethod method in rule.Helpers.Append(rule.Method))
        {
            yield return "";
            yield return $"// {method.CSharpName}{(method == rule.Method ? $", a {RuleForm.TokenScore.Words()}" : "")}";
            foreach (string line in new DeviceFunction(method, functions, [], isOfToken: true).Lines())
                yield return line;
        }
        IEnumerable<string> rest = rule.Method.Parameters.Skip(1)
            .Select(p => ", " + (p.Name is TokenRuleSpec.Key or TokenRuleSpec.Value ? p.Name : argument(p.Name)));
        yield return "";
        string Named(bool isRead, string name) => isRead ? "auto " + name : "auto";
        yield return $"__device__ float operator()(const rules::Token& {at}, {Named(rule.ReadsKey, "key")}, {Named(rule.ReadsValue, "value")}) const {{";
        yield return $"    return {functions[rule.Method.Name]}({at}{string.Concat(rest)}).value;";
        yield return "}";
    }
}
