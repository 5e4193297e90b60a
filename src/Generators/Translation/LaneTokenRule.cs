using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// A token score rule as C# over vectors whose lanes are neighbouring tokens: each lane does what the rule does with its token, in the
/// same order. Statements stay statements. Where tokens go different ways both are computed, and each lane keeps its own values.
/// </summary>
internal sealed class LaneTokenRule
{
    private readonly Dictionary<string, RuleMethod> _methods;
    private readonly string _class;
    private readonly NameSet _names = new("Score");
    private readonly Dictionary<string, string> _made = [];
    private readonly List<string> _functions = [];

    private LaneTokenRule(TokenRuleSpec rule, string @class)
    {
        _methods = rule.Helpers.Append(rule.Method).ToDictionary(method => method.Name);
        _class = @class;
    }

    /// <summary>Lines of the functions, an empty one before each.</summary>
    public IReadOnlyList<string> Functions => _functions;

    /// <summary>The function that is the rule: it takes a segment, the index of its first token, and the rule's parameters.</summary>
    public string Rule { get; private set; } = "";

    /// <summary>The vector form; null where there is none.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="class">The pipeline class as it is spelt in C#.</param>
    /// <param name="why">Why there is none.</param>
    public static LaneTokenRule? Of(TokenRuleSpec rule, string @class, out string why)
    {
        why = "";
        var lanes = new LaneTokenRule(rule, @class);
        try
        {
            lanes.Rule = lanes.Function(
                rule.Method, [.. rule.Method.Parameters.Select(p => p.Name is TokenRuleSpec.Key or TokenRuleSpec.Value)], isConditional: false);
            return lanes;
        }
        catch (NoLanesException exception)
        {
            why = exception.Message;
            return null;
        }
    }

    /// <summary>Name of the function that a method is for arguments of which some change from token to token.</summary>
    internal string Function(RuleMethod method, bool[] varies, bool isConditional)
    {
        string key = $"{method.Name} {isConditional} {string.Join(" ", varies)}";
        if (!_made.TryGetValue(key, out string? name))
        {
            _made[key] = name = _names.Unique(method.CSharpName.TrimStart('@') + "Lanes");
            List<string> lines = new LaneMethod(this, method, varies, isConditional).Lines(name);
            _functions.Add("");
            _functions.AddRange(lines);
        }
        return name;
    }

    internal RuleMethod Method(string name) => _methods[name];

    /// <summary>The user's own method, for values that all tokens share.</summary>
    internal string Scalar(string method) => $"{_class}.{_methods[method].CSharpName}";
}
