using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>A named value of a flat rule.</summary>
/// <param name="Name">The name, by which later values and the result mean it.</param>
/// <param name="Value">The value.</param>
/// <param name="IsConditional">Whether the rule computes it on some of its paths alone.</param>
internal sealed record FlatValue(string Name, RuleExpression Value, bool IsConditional);

/// <summary>All rules of a pipeline as named values without statements, and the score that they leave.</summary>
internal sealed record FlatRules(IReadOnlyList<FlatValue> Values, RuleExpression Result);

/// <summary>
/// Rules to <see cref="FlatRules"/>: methods are put in place of their calls, assignments are new names, branches are choices
/// between values. This is the form in which many scores can be computed at a time.
/// </summary>
internal sealed class RuleFlattener
{
    private const int MostNodes = 400;

    private readonly IReadOnlyDictionary<string, RuleMethod> _methods;
    private readonly NameSet _names;
    private readonly List<FlatValue> _values = [];
    private int _nodes;

    private RuleFlattener(RulesSpec rules, NameSet names) => (_methods, _names) = (rules.Methods, names);

    /// <summary>The flat form.</summary>
    /// <param name="rules">The rules.</param>
    /// <param name="parameters">Variables for the score, the position, and the parameters of rules by name.</param>
    /// <param name="names">Names that are taken; those of the values are added.</param>
    /// <param name="why">Why there is none.</param>
    public static FlatRules? Flatten(
        RulesSpec rules, Func<RuleParameter, RuleVariable> parameters, RuleVariable score, RuleVariable position, NameSet names, out string why)
    {
        why = "";
        var flattener = new RuleFlattener(rules, names);
        try
        {
            RuleExpression? seen = null;
            foreach (RuleSpec mask in rules.Masks)
            {
                RuleExpression one = flattener.Inline(mask.Method, [position, .. mask.Method.Parameters.Skip(1).Select(parameters)], false);
                seen = seen is null ? one : new RuleBinary(RuleType.Bool, BinaryOperator.And, seen, one);
            }
            RuleExpression value = score;
            foreach (RuleSpec rule in rules.Scores)
            {
                // Where a key is masked, the score rule is not asked.
                value = flattener.Inline(
                    rule.Method, [value, position, .. rule.Method.Parameters.Skip(2).Select(parameters)], isConditional: seen is not null);
            }
            if (seen is not null)
                value = new RuleChoice(seen, value, new RuleLiteral(RuleType.Float, unchecked((int)0xFF800000)));
            return new FlatRules(flattener._values, value);
        }
        catch (NotFlatException exception)
        {
            why = exception.Message;
            return null;
        }
    }

    private RuleExpression Inline(RuleMethod method, IReadOnlyList<RuleExpression> arguments, bool isConditional)
    {
        var variables = new Dictionary<string, RuleExpression>();
        for (int i = 0; i < method.Parameters.Count; i++)
            variables[method.Parameters[i].Name] = Name(arguments[i], isConditional);
        return Run(method.Body.ToList(), 0, variables, isConditional)!;
    }

    /// <summary>Runs statements from one on; null where they end without a result.</summary>
    private RuleExpression? Run(
        IReadOnlyList<RuleStatement> statements, int first, Dictionary<string, RuleExpression> variables, bool isConditional)
    {
        for (int i = first; i < statements.Count; i++)
        {
            switch (statements[i])
            {
                case RuleDeclare declare:
                    variables[declare.Name] = Name(Flat(declare.Value, variables, isConditional), isConditional);
                    break;
                case RuleAssign assign:
                    variables[assign.Name] = Name(Flat(assign.Value, variables, isConditional), isConditional);
                    break;
                case RuleReturn result:
                    return Flat(result.Value, variables, isConditional);
                case RuleBlock block:
                    return Run([.. block.Body, .. statements.Skip(i + 1)], 0, variables, isConditional);
                case RuleIf branch when branch.All.Any(s => s is RuleReturn):
                    RuleExpression test = Name(Flat(branch.Test, variables, isConditional), isConditional);
                    IEnumerable<RuleStatement> rest = statements.Skip(i + 1);
                    RuleExpression? then = Run([.. branch.Then, .. rest], 0, new(variables), true);
                    RuleExpression? otherwise = Run([.. branch.Else, .. rest], 0, new(variables), true);
                    // The compiler has seen to it that every path returns.
                    return Name(new RuleChoice(test, then!, otherwise!), isConditional);
                case RuleIf branch:
                    Merge(branch, variables, isConditional);
                    break;
                default:
                    throw new NotFlatException("it has a loop");
            }
        }
        return null;
    }

    private void Merge(RuleIf branch, Dictionary<string, RuleExpression> variables, bool isConditional)
    {
        RuleExpression test = Name(Flat(branch.Test, variables, isConditional), isConditional);
        Dictionary<string, RuleExpression> then = new(variables), otherwise = new(variables);
        Run(branch.Then, 0, then, isConditional: true);
        Run(branch.Else, 0, otherwise, isConditional: true);
        foreach (string name in variables.Keys.ToArray())
        {
            if (then[name] != otherwise[name])
                variables[name] = Name(new RuleChoice(test, then[name], otherwise[name]), isConditional);
        }
    }

    private RuleExpression Flat(RuleExpression expression, Dictionary<string, RuleExpression> variables, bool isConditional)
    {
        if (++_nodes > MostNodes)
            throw new NotFlatException("it is too long");
        RuleExpression Part(RuleExpression part, bool conditionally = false) => Flat(part, variables, isConditional || conditionally);
        switch (expression)
        {
            case RuleLiteral:
                return expression;
            case RuleVariable variable:
                return variables[variable.Name];
            case RulePosition position:
                return position with { Variable = ((RuleVariable)variables[position.Variable]).Name };
            case RuleElement element:
                return new RuleElement((RuleVariable)variables[element.Span.Name], Part(element.Index));
            case RuleLength length:
                return new RuleLength((RuleVariable)variables[length.Span.Name]);
            case RuleUnary unary:
                return unary with { Operand = Part(unary.Operand) };
            case RuleBinary binary:
                bool isShort = binary.Operator is BinaryOperator.BothOf or BinaryOperator.EitherOf;
                return binary with { Left = Part(binary.Left), Right = Part(binary.Right, isShort) };
            case RuleChoice choice:
                return new RuleChoice(Part(choice.Test), Part(choice.Then, true), Part(choice.Else, true));
            case RuleCast cast:
                return cast with { Operand = Part(cast.Operand) };
            case RuleCall call:
                return call with { Arguments = call.Arguments.Select(a => Part(a)).ToEquatableArray() };
            default:
                var invoke = (RuleInvoke)expression;
                return Inline(_methods[invoke.Method], invoke.Arguments.Select(a => Part(a)).ToList(), isConditional);
        }
    }

    /// <summary>A name for a value that is more than a name already. A number gets one too: C# refuses constants that divide by 0.</summary>
    private RuleExpression Name(RuleExpression value, bool isConditional)
    {
        if (value is RuleVariable or RulePosition)
            return value;
        var variable = new RuleVariable(value.Type, _names.Unique("t"));
        _values.Add(new FlatValue(variable.Name, value, isConditional));
        return variable;
    }

    private sealed class NotFlatException(string message) : Exception(message);
}
