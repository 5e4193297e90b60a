using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// Flat rules as C# over vectors of neighbouring scores. What is the same for all keys of a segment is computed once, before
/// the loop.
/// </summary>
internal sealed class LaneRules
{
    private const string Vectors = LaneText.Vectors, Lanes = LaneText.Lanes;

    private readonly HashSet<string> _varying = ["score"];
    private readonly Dictionary<string, string> _constants = [];
    private readonly NameSet _names;
    private readonly List<string> _before = [];
    private readonly List<string> _body = [];

    private LaneRules(NameSet names) => _names = names;

    /// <summary>Lines before the loop over vectors.</summary>
    public IReadOnlyList<string> Before => _before;

    /// <summary>Lines of its body, which has <c>score</c> and <c>i</c>.</summary>
    public IReadOnlyList<string> Body => _body;

    /// <summary>The new scores.</summary>
    public string Result { get; private set; } = "";

    /// <summary>Whether the position of the keys is read, as <c>key</c>.</summary>
    public bool ReadsKey { get; private set; }

    /// <summary>Whether elements of neighbouring keys are read, which are neighbours only where the keys are.</summary>
    public bool NeedsNeighbours { get; private set; }

    /// <summary>The vector form; null where there is none.</summary>
    /// <param name="rules">The rules, flat: variables are names of C#.</param>
    /// <param name="names">Names that are taken.</param>
    /// <param name="why">Why there is none.</param>
    public static LaneRules? Of(FlatRules rules, NameSet names, out string why)
    {
        why = "";
        var lanes = new LaneRules(names);
        try
        {
            foreach (FlatValue value in rules.Values)
                lanes.Add(value);
            lanes.Result = lanes.Text(rules.Result, isConditional: false);
            return lanes;
        }
        catch (NoLanesException exception)
        {
            why = exception.Message;
            return null;
        }
    }

    private void Add(FlatValue value)
    {
        string keyword = value.Value.Type.Keyword();
        if (IsUniform(value.Value))
        {
            CheckUniform(value.Value, value.IsConditional);
            _before.Add($"{keyword} {value.Name} = {ScalarText.Of(value.Value)};");
            return;
        }
        string text = Text(value.Value, value.IsConditional);
        _varying.Add(value.Name);
        _body.Add($"{LaneText.TypeOf(value.Value.Type)} {value.Name} = {text};");
    }

    private bool IsUniform(RuleExpression expression) => !expression.All.Any(part => part switch
    {
        RuleVariable variable => _varying.Contains(variable.Name),
        RulePosition position => position.Part == PositionPart.Key,
        _ => false,
    });

    // Computed before the loop it is computed in any case; where the rule computes it only on some path, it may not throw.
    private static void CheckUniform(RuleExpression expression, bool isConditional)
    {
        if (isConditional && expression.All.Any(ScalarText.MayThrow))
            throw new NoLanesException("it reads an element, or divides, under a condition");
    }

    private string Text(RuleExpression expression, bool isConditional)
    {
        if (IsUniform(expression))
        {
            CheckUniform(expression, isConditional);
            return Constant(ScalarText.Of(expression), expression.Type);
        }
        string Part(RuleExpression part, bool conditionally = false) => Text(part, isConditional || conditionally);
        switch (expression)
        {
            case RuleVariable variable:
                return variable.Name;
            case RulePosition:
                ReadsKey = true;
                return "key";
            case RuleElement { Axis: RuleAxes.Keys } element when element.Type != RuleType.Bool:
                NeedsNeighbours = true;
                return $"{Lanes}.Load<{element.Type.Keyword()}>({element.Span.Name}, at.FirstKey + i)";
            case RuleElement:
                throw new NoLanesException("it reads elements that are not those of neighbouring keys");
            case RuleUnary unary:
                return LaneText.Unary(unary.Operator, Part(unary.Operand));
            case RuleBinary binary:
                return Binary(binary, Part);
            case RuleChoice choice when IsUniform(choice.Test):
                CheckUniform(choice.Test, isConditional);
                return $"({ScalarText.Of(choice.Test)} ? {Part(choice.Then, true)} : {Part(choice.Else, true)})";
            case RuleChoice choice:
                return $"{Vectors}.ConditionalSelect({Part(choice.Test)}, {Part(choice.Then, true)}, {Part(choice.Else, true)})";
            case RuleCast cast:
                return LaneText.Cast(cast.Type, Part(cast.Operand));
            default:
                var call = (RuleCall)expression;
                return LaneText.Call(call.Function, call.Arguments.Select(a => Part(a)).ToArray());
        }
    }

    private string Binary(RuleBinary binary, Func<RuleExpression, bool, string> part)
    {
        bool isShort = binary.Operator is BinaryOperator.BothOf or BinaryOperator.EitherOf;
        if (LaneText.Binary(binary, () => part(binary.Left, false), () => part(binary.Right, isShort)) is { } text)
            return text;
        if (!IsUniform(binary.Right))
            throw new NoLanesException("it shifts by a number that changes from key to key");
        return $"({part(binary.Left, false)} {RuleText.Operator(binary.Operator)} ({ScalarText.Of(binary.Right)} & 31))";
    }

    private string Constant(string scalar, RuleType type)
    {
        if (!_constants.TryGetValue(scalar, out string? name))
        {
            _constants[scalar] = name = _names.Unique("c");
            _before.Add($"{LaneText.TypeOf(type)} {name} = {LaneText.Same(scalar, type)};");
        }
        return name;
    }
}
