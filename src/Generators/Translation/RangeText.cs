using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>
/// <see cref="MaskRanges"/> as text. CUDA and C# have the same functions, <c>attncompose/rule_ranges.cuh</c> and <c>RuleRanges</c>,
/// each in the spelling of its language.
/// </summary>
internal sealed class RangeText
{
    private readonly bool _isDevice;
    private readonly Func<string, int> _bounded;
    private readonly HashSet<string> _values;

    private RangeText(MaskRanges ranges, bool isDevice)
    {
        _isDevice = isDevice;
        List<string> bounded = ranges.Bounded.ToList();
        // A span that is read at one index of a tile has no bounds.
        _bounded = span => Math.Max(bounded.IndexOf(span), 0);
        _values = [.. ranges.Values.Select(v => v.Name)];
    }

    /// <summary>The statements of a function that has the ranges of a tile as <c>at</c>.</summary>
    public static IEnumerable<string> Statements(MaskRanges ranges, bool isDevice)
    {
        var text = new RangeText(ranges, isDevice);
        foreach (FlatValue value in ranges.Values)
            yield return $"{(isDevice ? "const auto" : "var")} {value.Name} = {text.Of(value.Value)};";
        yield return $"return {text.Of(ranges.Sees)};";
    }

    private string Of(RuleExpression expression)
    {
        switch (expression)
        {
            case RuleLiteral literal:
                return Call("Of", Scalar(literal.Type, _isDevice ? DeviceFunction.Literal(literal) : ScalarText.Of(literal)));
            case RuleVariable variable:
                return _values.Contains(variable.Name) ? variable.Name : Call("Of", Scalar(variable.Type, variable.Name));
            case RulePosition position:
                return $"at.{(_isDevice ? Names.Snake(position.Part.ToString()) : position.Part.ToString())}";
            case RuleElement { Span.Name: var span } element:
                return _isDevice ? Call("Element", span, "bounds", $"{_bounded(span)}", Of(element.Index)) : Call("Element", span, Of(element.Index));
            case RuleLength length:
                return Call("Length", length.Span.Name);
            case RuleUnary unary:
                return Call(unary.Operator == UnaryOperator.Not ? "Invert" : unary.Operator.ToString(), Of(unary.Operand));
            case RuleBinary binary:
                return Binary(binary, Of(binary.Left), Of(binary.Right));
            case RuleChoice choice:
                return Call("Choose", Of(choice.Test), Of(choice.Then), Of(choice.Else));
            case RuleCast cast:
                return Call(cast.Type == RuleType.Int ? "ToInt" : "ToFloat", Of(cast.Operand));
            default:
                var call = (RuleCall)expression;
                return call.Function switch
                {
                    RuleFunction.Abs or RuleFunction.Min or RuleFunction.Max or RuleFunction.Clamp or RuleFunction.Floor or RuleFunction.Ceiling
                        or RuleFunction.Truncate or RuleFunction.Round or RuleFunction.IsNaN or RuleFunction.IsFinite =>
                        Call(call.Function.ToString(), call.Arguments.Select(Of).ToArray()),
                    _ => Call("AnyFloat"),
                };
        }
    }

    private string Binary(RuleBinary binary, string left, string right)
    {
        bool isBool = binary.Left.Type == RuleType.Bool;
        return binary.Operator switch
        {
            BinaryOperator.BothOf => Call("Both", left, right),
            BinaryOperator.EitherOf => Call("Either", left, right),
            BinaryOperator.And when isBool => Call("Both", left, right),
            BinaryOperator.Or when isBool => Call("Either", left, right),
            BinaryOperator.Xor when isBool => Call("Invert", Call("Equal", left, right)),
            BinaryOperator.And or BinaryOperator.Or or BinaryOperator.Xor => Call("Bit" + binary.Operator, left, right),
            BinaryOperator.NotEqual => Call("Invert", Call("Equal", left, right)),
            BinaryOperator.Greater => Call("Less", right, left),
            BinaryOperator.GreaterOrEqual => Call("LessOrEqual", right, left),
            _ => Call(binary.Operator.ToString(), left, right),
        };
    }

    // What says on the device which overload is meant.
    private string Scalar(RuleType type, string text) => (_isDevice, type) switch
    {
        (true, RuleType.Float) => $"Float({text})",
        (true, RuleType.Int) => $"Int({text})",
        _ => text,
    };

    private string Call(string function, params string[] arguments)
    {
        string name = !_isDevice ? $"global::AttnCompose.Cpu.RuleRanges.{function}"
            : "ranges::" + (function == nameof(RuleFunction.IsNaN) ? "is_nan" : Names.Snake(function));
        return $"{name}({string.Join(", ", arguments)})";
    }
}
