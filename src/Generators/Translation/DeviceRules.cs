using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// Rules as member functions of a device struct. The types of <c>attncompose/rules.cuh</c> mean what C# means, so the text is
/// that of the C# but for its spelling.
/// </summary>
internal sealed class DeviceRules
{
    private const string TermName = "distance_term";

    private readonly RulesSpec _rules;
    private readonly Func<string, string> _argument;
    private readonly Dictionary<string, string> _functions = [];
    private readonly Dictionary<string, (RuleExpression Value, string Name)[]> _constants = [];
    private readonly RuleMethod? _term; // as a function of its own

    /// <summary>Names the functions of a pipeline's rules.</summary>
    /// <param name="rules">The rules.</param>
    /// <param name="members">Names that the struct has already.</param>
    /// <param name="argument">Name of the member that a parameter of rules is given.</param>
    public DeviceRules(RulesSpec rules, IEnumerable<string> members, Func<string, string> argument)
    {
        (_rules, _argument) = (rules, argument);
        var names = new NameSet(members.Concat(["hides", "change", "apply", "sink", "sees", "bounds", "for_each_bounded", TermName]));
        foreach (RuleMethod method in Methods)
            _functions[method.Name] = names.Unique(Names.Device(Names.Snake(method.Name)), "_");
        foreach (RuleSpec rule in rules.Rules)
        {
            string name = _functions[rule.Method.Name] + "_constant";
            _constants[rule.Method.Name] = [.. RuleConstants.Of(rule).Select(value => (value, names.Unique(name, "_")))];
        }
        Term = RuleDistanceTerm.Of(rules);
        if (Term is not { Rule.Method: var of })
            return;
        _term = of with
        {
            Name = $"{of.Name} by distance", Parameters = of.Parameters.Skip(1).ToEquatableArray(), Body = [new RuleReturn(Term.Value)],
        };
        _functions[_term.Name] = names.Unique($"{_functions[of.Name]}_by_distance", "_");
    }

    /// <summary>What a loop may compute once for all scores of a distance; null where there is no such thing.</summary>
    public RuleDistanceTerm? Term { get; }

    /// <summary>What is called comes first.</summary>
    private IEnumerable<RuleMethod> Methods => _rules.Helpers.Concat(_rules.Rules.Select(rule => rule.Method));

    /// <summary>Members whose values are the same for every score.</summary>
    public IEnumerable<string> Members() =>
        from rule in _rules.Rules
        from constant in _constants[rule.Method.Name]
        select new DeviceFunction(rule.Method, _functions, []).Member(constant.Name, constant.Value, _argument)
            + $"  // of {rule.Method.CSharpName}, the same for every score";

    /// <summary>The lines of every function, an empty one between two.</summary>
    public IEnumerable<string> Functions()
    {
        foreach (RuleMethod method in Methods)
        {
            RuleSpec? rule = _rules.Rules.FirstOrDefault(r => r.Method == method);
            yield return "";
            yield return $"// {method.CSharpName}{(rule is null ? "" : $", a {rule.Kind.Words()}")}";
            var constants = _constants.TryGetValue(method.Name, out var found) ? found : [];
            if (_term is not null && rule == Term!.Rule)
            {
                yield return "// Of it what all scores of a distance have in common.";
                foreach (string line in new DeviceFunction(_term, _functions, constants).Lines())
                    yield return line;
                constants = [.. constants, (Term.Written, TermName)];
            }
            foreach (string line in new DeviceFunction(method, _functions, constants).Lines())
                yield return line;
        }
    }

    /// <summary>The lines of what the attention loop calls.</summary>
    public IEnumerable<string> Hooks()
    {
        string At(bool isRead) => isRead ? "const attn::ScorePosition& position" : "const attn::ScorePosition&";
        string[] masks = _rules.Masks.Select(rule => "!" + Call(rule, "at")).ToArray();
        yield return $"__device__ bool hides({At(masks.Length > 0)}) const {{";
        if (masks.Length > 0)
            yield return "    const rules::Position at(position);";
        yield return $"    return {(masks.Length > 0 ? string.Join(" || ", masks) : "false")};";
        yield return "}";
        foreach (string line in _term is null ? Change(At(_rules.Scores.Any()), "") : TermHooks())
            yield return line;
        yield return "__device__ float apply(float score, const attn::ScorePosition& at) const {";
        yield return "    return hides(at) ? -attn::kInfinity : change(score, at);";
        yield return "}";
        yield return $"__device__ float sink({At(_rules.Sink is not null)}) const {{";
        yield return _rules.Sink is { } sink ? $"    return {Call(sink, "rules::Position(position)")}.value;" : "    return -attn::kInfinity;";
        yield return "}";

    }

    // What all scores of a distance have in common, by itself and given.
    private IEnumerable<string> TermHooks()
    {
        const string At = "const attn::ScorePosition& position";
        yield return $"__device__ float {TermName}({At}) const {{";
        yield return $"    return {Call(_term!, Term!.Rule, "rules::Position(position)")}.value;";
        yield return "}";
        foreach (string line in Change(At, $", float {TermName}"))
            yield return line;
        yield return $"__device__ float change(float score, {At}) const {{";
        yield return $"    return change(score, position, {TermName}(position));";
        yield return "}";
    }

    private IEnumerable<string> Change(string at, string term)
    {
        RuleSpec[] scores = _rules.Scores.ToArray();
        yield return $"__device__ float change(float score, {at}{term}) const {{";
        if (scores.Length > 0)
            yield return "    const rules::Position at(position);";
        foreach (RuleSpec rule in scores.Take(scores.Length - 1))
            yield return $"    score = {Call(rule, "score, at")}.value;";
        yield return scores.Length == 0 ? "    return score;" : $"    return {Call(scores[scores.Length - 1], "score, at")}.value;";
        yield return "}";
    }

    private string Call(RuleSpec rule, string first) =>
        rule == Term?.Rule ? Call(rule.Method, rule, first, TermName) : Call(rule.Method, rule, first);

    private string Call(RuleMethod method, RuleSpec rule, string first, params string[] last)
    {
        IEnumerable<string> rest = rule.Method.Parameters.Skip(rule.Given).Select(p => _argument(p.Name))
            .Concat(_constants[rule.Method.Name].Select(constant => constant.Name)).Concat(last);
        return $"{_functions[method.Name]}({string.Join(", ", rest.Prepend(first))})";
    }
}
