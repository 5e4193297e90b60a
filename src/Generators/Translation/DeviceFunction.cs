using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>One method as a device function.</summary>
internal sealed class DeviceFunction
{
    // Of C++: what binds more tightly is smaller.
    private const int Primary = 0, Prefix = 1, Choice = 16;

    private readonly RuleMethod _method;
    private readonly IReadOnlyDictionary<string, string> _functions;
    private readonly Dictionary<string, string> _names = [];
    private readonly HashSet<string> _assigned;
    private readonly NameSet _taken;
    private readonly Dictionary<string, RuleRange> _ranges = [];
    private readonly bool _isOfToken;
    private readonly Dictionary<RuleExpression, string> _constants = [];

    /// <param name="method">The method.</param>
    /// <param name="functions">Device names of all methods.</param>
    /// <param name="constants">Expressions that are parameters of the function, behind those of the method; and their names.</param>
    /// <param name="isOfToken">Whether it belongs to a token score, whose loops run over a token's vectors.</param>
    public DeviceFunction(
        RuleMethod method, IReadOnlyDictionary<string, string> functions, IEnumerable<(RuleExpression Value, string Name)> constants,
        bool isOfToken = false)
    {
        (_method, _functions, _isOfToken) = (method, functions, isOfToken);
        _taken = new NameSet(functions.Values);
        foreach (var (value, name) in constants)
            _constants[value] = _taken.Unique(name, "_");
        _assigned = [.. method.Body.SelectMany(s => s.All).OfType<RuleAssign>().Select(a => a.Name)];
    }

    public IEnumerable<string> Lines()
    {
        IEnumerable<string> own = _method.Parameters.Select(p => $"{ParameterType(p.Type)}{NameOf(p.Name)}");
        string parameters = string.Join(", ", own.Concat(_constants.Select(constant => $"{TypeOf(constant.Key.Type)} {constant.Value}")));
        yield return $"static __device__ {TypeOf(_method.Returns)} {_functions[_method.Name]}({parameters}) {{";
        foreach (string line in Block(_method.Body))
            yield return line;
        yield return "}";
    }

    /// <summary>The declaration of a member of the struct that has the options, with an expression over them for its value.</summary>
    /// <param name="name">The member.</param>
    /// <param name="value">The expression.</param>
    /// <param name="option">Name of the member that is an option's.</param>
    public string Member(string name, RuleExpression value, System.Func<string, string> option)
    {
        foreach (RuleVariable variable in value.All.OfType<RuleVariable>())
        {
            string given = option(variable.Name);
            _names[variable.Name] = variable.Type == RuleType.Bool ? given : $"{TypeOf(variable.Type)}({given})";
        }
        return $"{TypeOf(value.Type)} {name} = {Text(value)};";
    }

    private IEnumerable<string> Block(IEnumerable<RuleStatement> statements) => statements.SelectMany(Statement).Select(line => "    " + line).ToList();

    private IEnumerable<string> Statement(RuleStatement statement)
    {
        switch (statement)
        {
            case RuleDeclare declare:
                // Two locals of one name, in blocks beside each other, share a range only where both have it.
                if (declare.Value.Type == RuleType.Int && !_assigned.Contains(declare.Name))
                {
                    RuleRange range = RuleRange.Of(declare.Value, _ranges);
                    _ranges[declare.Name] = range;
                }
                string constant = _assigned.Contains(declare.Name) ? "" : "const ";
                return [$"{constant}{TypeOf(declare.Value.Type)} {NameOf(declare.Name)} = {Text(declare.Value)};"];
            case RuleAssign assign:
                return [$"{NameOf(assign.Name)} = {Text(assign.Value)};"];
            case RuleReturn result:
                return [$"return {Text(result.Value)};"];
            case RuleLeave leave:
                return [leave.Turn ? "continue;" : "break;"];
            case RuleBlock block:
                return Block(block.Body).Prepend("{").Append("}");
            case RuleIf branch:
                return If(branch);
            default:
                return For((RuleFor)statement);
        }
    }

    private List<string> If(RuleIf branch)
    {
        List<string> lines = [$"if ({Text(branch.Test)}) {{", .. Block(branch.Then)];
        if (branch.Else.Count == 1 && branch.Else[0] is RuleIf other)
        {
            List<string> rest = If(other);
            lines.Add("} else " + rest[0]);
            lines.AddRange(rest.Skip(1));
            return lines;
        }
        if (branch.Else.Count > 0)
        {
            lines.Add("} else {");
            lines.AddRange(Block(branch.Else));
        }
        lines.Add("}");
        return lines;
    }

    private IEnumerable<string> For(RuleFor loop)
    {
        _ranges.Remove(loop.Name);
        string counter = NameOf(loop.Name);
        string step = loop.Step > 0 ? $"+ {RuleText.Int(loop.Step)}" : $"- {RuleText.Int(-loop.Step)}";
        // The attention loop is unrolled around a rule of its scores; a token's elements are worth reading some at a time.
        yield return _isOfToken ? "#pragma unroll 8" : "#pragma unroll 1";
        yield return $"for (Int {counter} = {Text(loop.From)}; {counter} {RuleText.Operator(loop.Comparison)} {Text(loop.Bound, 8)}; {counter} = {counter} {step}) {{";
        foreach (string line in Block(loop.Body))
            yield return line;
        yield return "}";
    }

    /// <summary>An expression, in parentheses where it binds less tightly than asked for.</summary>
    private string Text(RuleExpression expression, int binding = Choice)
    {
        (string text, int own) = Bind(expression);
        return own <= binding ? text : $"({text})";
    }

    private (string Text, int Binding) Bind(RuleExpression expression)
    {
        if (_constants.TryGetValue(expression, out string? constant))
            return (constant, Primary);
        switch (expression)
        {
            case RuleLiteral literal:
                string number = Literal(literal);
                return (number, number[0] == '-' ? Prefix : Primary);
            case RuleVariable variable:
                return (NameOf(variable.Name), Primary);
            case RulePosition position:
                return ($"{NameOf(position.Variable)}.{PartOf(position.Part)}", Primary);
            case RuleElement element:
                string index = Text(element.Index);
                return (element.Axis != RuleAxes.None ? $"{NameOf(element.Span.Name)}[{index}]" : $"{NameOf(element.Span.Name)}.get({index})", Primary);
            case RuleLength length:
                return ($"{NameOf(length.Span.Name)}.size()", Primary);
            case RuleUnary unary:
                return (RuleText.Operator(unary.Operator) + Text(unary.Operand, Primary), Prefix);
            case RuleBinary { Operator: BinaryOperator.ShiftRightLogical } shift:
                return ($"rules::shift_right_logical({Operand(shift.Left)}, {Operand(shift.Right)})", Primary);
            case RuleBinary binary:
                return Binary(binary);
            case RuleChoice choice:
                return ($"{Text(choice.Test, 15)} ? {Operand(choice.Then, 15)} : {Operand(choice.Else)}", Choice);
            case RuleCast { Type: RuleType.Int } cast:
                return ($"rules::to_int({Operand(cast.Operand)})", Primary);
            case RuleCast { Type: RuleType.Float } known when DistanceOf(known.Operand) is { } exact:
                return (exact, Primary);
            case RuleCast { Operand: RuleCall { Function: RuleFunction.Abs } magnitude } when DistanceOf(magnitude.Arguments[0]) is { } exact:
                return ($"rules::abs({exact})", Primary);
            case RuleCast cast:
                string to = RuleRange.Of(cast.Operand, _ranges).IsSmall ? "small_to_float" : "to_float";
                return ($"rules::{to}({Operand(cast.Operand)})", Primary);
            case RuleCall call:
                string function = call.Function == RuleFunction.IsNaN ? "is_nan" : Names.Snake(call.Function.ToString());
                return ($"rules::{function}({string.Join(", ", call.Arguments.Select(a => Operand(a)))})", Primary);
            default:
                var invoke = (RuleInvoke)expression;
                return ($"{_functions[invoke.Method]}({string.Join(", ", invoke.Arguments.Select(a => Text(a)))})", Primary);
        }
    }

    private (string Text, int Binding) Binary(RuleBinary binary)
    {
        bool isBool = binary.Left.Type == RuleType.Bool;
        (string symbol, int binding) = binary.Operator switch
        {
            BinaryOperator.Multiply or BinaryOperator.Divide or BinaryOperator.Remainder => (RuleText.Operator(binary.Operator), 5),
            BinaryOperator.Add or BinaryOperator.Subtract => (RuleText.Operator(binary.Operator), 6),
            BinaryOperator.ShiftLeft or BinaryOperator.ShiftRight => (RuleText.Operator(binary.Operator), 7),
            BinaryOperator.Less or BinaryOperator.LessOrEqual or BinaryOperator.Greater or BinaryOperator.GreaterOrEqual =>
                (RuleText.Operator(binary.Operator), 9),
            // An expression has no effect but its value, so bools are joined alike whether both are computed or not.
            BinaryOperator.Xor when isBool => ("!=", 10),
            BinaryOperator.Equal or BinaryOperator.NotEqual => (RuleText.Operator(binary.Operator), 10),
            BinaryOperator.BothOf => ("&&", 14),
            BinaryOperator.And when isBool => ("&&", 14),
            BinaryOperator.EitherOf => ("||", 15),
            BinaryOperator.Or when isBool => ("||", 15),
            BinaryOperator.And => ("&", 11),
            BinaryOperator.Xor => ("^", 12),
            _ => ("|", 13),
        };
        // Bits, shifts and the two kinds of conditions get parentheses among each other, as a reader would want them.
        int inner = binding is 5 or 6 ? binding : binding == 9 || binding == 10 ? 6 : binding >= 14 ? 10 : Prefix;
        bool isChain = binary.Left is RuleBinary { Operator: var before } && before == binary.Operator;
        string left = Text(binary.Left, binding is 5 or 6 || (isChain && binding >= 11) ? binding : inner);
        return ($"{left} {symbol} {Text(binary.Right, binding is 5 or 6 ? binding - 1 : inner)}", binding);
    }

    // The loop has the distance of query and key as a float, which is exact.
    private string? DistanceOf(RuleExpression of) =>
        of is RuleBinary
        {
            Operator: BinaryOperator.Subtract,
            Left: RulePosition { Part: PositionPart.Query } query,
            Right: RulePosition { Part: PositionPart.Key } key,
        } && query.Variable == key.Variable
            ? $"{NameOf(query.Variable)}.distance"
            : null;

    // Beside another literal nothing would say that it is an Int or Float.
    private string Operand(RuleExpression expression, int binding = Choice) => expression is RuleLiteral { Type: RuleType.Int or RuleType.Float }
        ? $"{TypeOf(expression.Type)}({Text(expression)})"
        : Text(expression, binding);

    private string NameOf(string name)
    {
        if (!_names.TryGetValue(name, out string? device))
            _names[name] = device = _taken.Unique(Names.Device(Names.Snake(name)), "_");
        return device;
    }

    /// <summary>A number or bool as it is spelt on the device.</summary>
    public static string Literal(RuleLiteral literal) => literal.Type switch
    {
        RuleType.Bool => literal.Bits != 0 ? "true" : "false",
        RuleType.Int => RuleText.Int(literal.Bits),
        _ => RuleText.Float(literal) switch
        {
            float.PositiveInfinity => "attn::kInfinity",
            float.NegativeInfinity => "-attn::kInfinity",
            var value when float.IsNaN(value) => "rules::kNaN",
            var value => RuleText.Finite(value),
        },
    };

    private static string PartOf(PositionPart part) => Names.Snake(part.ToString());

    private static string TypeOf(RuleType type) => type switch
    {
        RuleType.Float => "Float",
        RuleType.Int => "Int",
        _ => "bool",
    };

    private string ParameterType(RuleType type) => type switch
    {
        RuleType.Token => "const rules::Token& ",
        RuleType.FloatSpan when _isOfToken => "auto ", // of Run, or a vector of the token
        RuleType.Position => "const rules::Position& ",
        RuleType.FloatSpan => "rules::Span<float> ",
        RuleType.IntSpan => "rules::Span<int> ",
        RuleType.BoolSpan => "rules::Span<bool> ",
        _ => TypeOf(type) + " ",
    };
}
