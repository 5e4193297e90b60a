using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// What a score rule computes from the distance of query and key alone, beside heads, options and spans: the same along a diagonal. A
/// tile of 128 by 128 scores has 255 diagonals, so a loop that has whole tiles computes it 64 times less often than a score. Relative
/// biases are of this kind (arXiv 1910.10683), whatever they do to turn a distance into a number.
/// </summary>
/// <param name="Rule">The rule.</param>
/// <param name="Written">The expression as it stands in the rule.</param>
/// <param name="Value">The same with locals replaced by what they hold.</param>
internal sealed record RuleDistanceTerm(RuleSpec Rule, RuleExpression Written, RuleExpression Value)
{
    /// <summary>The longest such expression of the first score rule that has one which costs more to compute than to look up.</summary>
    public static RuleDistanceTerm? Of(RulesSpec rules) =>
        rules.Scores.Select(rule => new Finder(rules, rule).Find()).FirstOrDefault(term => term is not null);

    /// <summary>
    /// Whether score rules still call functions that take several instructions of the special function unit, which the softmax's
    /// exponentials keep busy already, where the term is given.
    /// </summary>
    public static bool LeavesSpecialFunctions(RulesSpec rules, RuleDistanceTerm? term)
    {
        Dictionary<string, RuleMethod> methods = rules.Methods;
        return rules.Scores.Any(rule => Calls(rule.Method));

        bool Calls(RuleMethod method) => method.Body.SelectMany(s => s.All).SelectMany(s => s.Expressions).Any(IsCalling);

        bool IsCalling(RuleExpression expression) => expression != term?.Written && (expression switch
        {
            RuleCall { Function: RuleFunction.Exp or RuleFunction.Log or RuleFunction.Log2 or RuleFunction.Pow or RuleFunction.Tanh or RuleFunction.SoftCap } => true,
            RuleInvoke invoke => Calls(methods[invoke.Method]),
            _ => false,
        } || expression.Parts.Any(IsCalling));
    }

    private sealed class Finder(RulesSpec rules, RuleSpec rule)
    {
        private readonly Dictionary<string, RuleMethod> _methods = rules.Methods;
        private readonly HashSet<string> _assigned =
            [.. rule.Method.Body.SelectMany(s => s.All).OfType<RuleAssign>().Select(assign => assign.Name)];

        // What a variable holds for the whole rule: a parameter itself, a local its value.
        private readonly Dictionary<string, RuleExpression> _known = [];

        public RuleDistanceTerm? Find()
        {
            foreach (RuleParameter parameter in rule.Method.Parameters.Skip(rule.Given).Where(p => !_assigned.Contains(p.Name)))
                _known[parameter.Name] = new RuleVariable(parameter.Type, parameter.Name);
            foreach (RuleDeclare declare in rule.Method.Body.OfType<RuleDeclare>().Where(d => !_assigned.Contains(d.Name)))
            {
                if (IsKnown(declare.Value))
                    _known[declare.Name] = Substituted(declare.Value);
            }
            RuleExpression? longest = rule.Method.Body.SelectMany(s => s.All).SelectMany(s => s.Expressions).SelectMany(Largest)
                .OrderByDescending(expression => Substituted(expression).All.Count()).FirstOrDefault();
            return longest is null ? null : new(rule, longest, Substituted(longest));
        }

        private IEnumerable<RuleExpression> Largest(RuleExpression expression) =>
            expression.Type == RuleType.Float && IsKnown(expression) && Substituted(expression) is { } value && value.All.Any(IsCostly)
                ? [expression]
                : expression.Parts.SelectMany(Largest);

        // Whether it is the same along a diagonal.
        private bool IsKnown(RuleExpression expression) => IsDistance(expression) || (expression switch
        {
            RuleVariable variable => _known.ContainsKey(variable.Name),
            RulePosition position => position.Part is PositionPart.Batch or PositionPart.QueryHead or PositionPart.KeyValueHead,
            RuleElement element => _known.ContainsKey(element.Span.Name),
            RuleLength length => _known.ContainsKey(length.Span.Name),
            _ => true,
        } && expression.Parts.All(IsKnown));

        private static bool IsDistance(RuleExpression expression) => expression is RuleBinary
        {
            Operator: BinaryOperator.Subtract,
            Left: RulePosition { Part: PositionPart.Query or PositionPart.Key } left,
            Right: RulePosition { Part: PositionPart.Query or PositionPart.Key } right,
        } && left.Part != right.Part;

        // Looked up by the distance, or computed from it by what takes many instructions.
        private bool IsCostly(RuleExpression expression) => expression.All.Any(IsDistance) && (expression switch
        {
            RuleElement => true,
            RuleInvoke invoke => IsCostly(_methods[invoke.Method]),
            _ => RuleConstants.IsLong(expression),
        });

        private bool IsCostly(RuleMethod method) =>
            method.Body.SelectMany(s => s.All).Any(statement => statement is RuleFor) || method.Body.SelectMany(s => s.All)
                .SelectMany(s => s.Expressions).SelectMany(e => e.All)
                .Any(e => e is RuleElement || RuleConstants.IsLong(e) || (e is RuleInvoke invoke && IsCostly(_methods[invoke.Method])));

        private RuleExpression Substituted(RuleExpression expression) => expression switch
        {
            RuleVariable variable => _known.TryGetValue(variable.Name, out RuleExpression? value) ? value : variable,
            RuleElement element => new RuleElement(element.Span, Substituted(element.Index)),
            RuleUnary unary => unary with { Operand = Substituted(unary.Operand) },
            RuleBinary binary => binary with { Left = Substituted(binary.Left), Right = Substituted(binary.Right) },
            RuleChoice choice => new RuleChoice(Substituted(choice.Test), Substituted(choice.Then), Substituted(choice.Else)),
            RuleCast cast => cast with { Operand = Substituted(cast.Operand) },
            RuleCall call => call with { Arguments = call.Arguments.Select(Substituted).ToEquatableArray() },
            RuleInvoke invoke => invoke with { Arguments = invoke.Arguments.Select(Substituted).ToEquatableArray() },
            _ => expression,
        };
    }
}
