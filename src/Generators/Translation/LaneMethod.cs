using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Translation;

/// <summary>One method of a token score rule over vectors of tokens.</summary>
internal sealed class LaneMethod
{
    private readonly LaneTokenRule _rule;
    private readonly RuleMethod _method;
    private readonly HashSet<string> _varying; // locals and parameters that change from token to token; spans: vectors of tokens
    private readonly HashSet<string> _given; // parameters that are given so
    private readonly HashSet<string> _tokens; // parameters that are positions
    private readonly Dictionary<string, string> _own = []; // C# names
    private readonly NameSet _names = new("at", "i", "scores", "position", "result", "done");
    private readonly HashSet<string> _inside = []; // loop counters that stay inside the token's vectors
    private readonly bool _leavesEarly;
    private bool _someAreDone; // so that what follows is computed for some tokens alone
    private string? _loopMask;

    /// <param name="rule">The rule.</param>
    /// <param name="method">The method.</param>
    /// <param name="varies">Which arguments change from token to token.</param>
    /// <param name="isConditional">Whether it is called for some tokens alone.</param>
    public LaneMethod(LaneTokenRule rule, RuleMethod method, bool[] varies, bool isConditional)
    {
        (_rule, _method, _someAreDone) = (rule, method, isConditional);
        _tokens = [.. method.Parameters.Where(p => p.Type == RuleType.Token).Select(p => p.Name)];
        _given = [.. method.Parameters.Where((p, i) => varies[i]).Select(p => p.Name)];
        _varying = [.. _given];
        int known;
        do
        {
            known = _varying.Count;
            Spread(method.Body, isMasked: false);
        }
        while (_varying.Count > known);
        _leavesEarly = ReturnsMasked(method.Body, isMasked: false);
    }

    public List<string> Lines(string name)
    {
        // A parameter that all tokens share and that is assigned a number of each token's begins as a vector of the same.
        RuleParameter[] spread = [.. _method.Parameters.Where(p => _varying.Contains(p.Name) && !_given.Contains(p.Name))];
        Dictionary<string, string> shared = spread.ToDictionary(p => p.Name, p => Names.CSharp(_names.Unique(p.Name + "OfAll")));
        string[] parameters = [.. _method.Parameters.Where(p => p.Type != RuleType.Token)
            .Select(p => $", {ParameterType(p)} {(shared.TryGetValue(p.Name, out string? scalar) ? scalar : NameOf(p.Name))}")];
        List<string> body =
        [
            .. spread.Select(p => $"{LaneText.TypeOf(p.Type)} {NameOf(p.Name)} = {LaneText.Same(shared[p.Name], p.Type)};"),
            .. Block(_method.Body, mask: null),
        ];
        if (_leavesEarly)
        {
            body.Insert(0, $"{LaneText.TypeOf(_method.Returns)} result = default;");
            body.Insert(1, $"{LaneText.TypeOf(RuleType.Int)} done = default;");
            if (!Ends(_method.Body))
                body.Add("return result;");
        }
        if (_method.Body.SelectMany(s => s.All).SelectMany(s => s.Expressions).SelectMany(e => e.All).Any(e => e is RulePosition { Part: PositionPart.Position }))
            body.Insert(0, $"{LaneText.TypeOf(RuleType.Int)} position = {LaneText.Vectors}.Create(at.First + i) + {LaneText.TypeOf(RuleType.Int)}.Indices;");
        return
        [
            $"private static {LaneText.TypeOf(_method.Returns)} {name}(in global::AttnCompose.Cpu.TokenSegment at, int i{string.Concat(parameters)})",
            "{", "    unchecked", "    {", .. body.Select(line => "        " + line), "    }", "}",
        ];
    }

    // What is assigned a varying value, or under a condition that varies, varies.
    private void Spread(IEnumerable<RuleStatement> statements, bool isMasked)
    {
        foreach (RuleStatement statement in statements)
        {
            switch (statement)
            {
                case RuleDeclare declare when Varies(declare.Value):
                    _varying.Add(declare.Name);
                    break;
                case RuleAssign assign when isMasked || Varies(assign.Value):
                    _varying.Add(assign.Name);
                    break;
                default:
                    Spread(statement.Inner, isMasked || (statement is RuleIf branch && Varies(branch.Test)));
                    break;
            }
        }
    }

    private bool ReturnsMasked(IEnumerable<RuleStatement> statements, bool isMasked) => statements.Any(s =>
        (s is RuleReturn && isMasked) || ReturnsMasked(s.Inner, isMasked || (s is RuleIf branch && Varies(branch.Test))));

    private bool Varies(RuleExpression expression) => expression.All.Any(part => part switch
    {
        RuleVariable variable => _varying.Contains(variable.Name) || _tokens.Contains(variable.Name),
        RulePosition position => position.Part == PositionPart.Position,
        RuleElement element => _varying.Contains(element.Span.Name),
        _ => false,
    });

    // Whether no statement comes after: every token has returned.
    private bool Ends(EquatableArray<RuleStatement> statements) => statements.Count > 0 && statements[statements.Count - 1] switch
    {
        RuleReturn => true,
        RuleBlock block => Ends(block.Body),
        RuleIf branch => !Varies(branch.Test) && Ends(branch.Then) && Ends(branch.Else),
        _ => false,
    };

    /// <param name="statements">The statements.</param>
    /// <param name="mask">Local of the lanes that run them; null for all.</param>
    private List<string> Block(IEnumerable<RuleStatement> statements, string? mask) => statements.SelectMany(s => Statement(s, mask)).ToList();

    private IEnumerable<string> Statement(RuleStatement statement, string? mask)
    {
        switch (statement)
        {
            case RuleDeclare declare:
                bool isVector = _varying.Contains(declare.Name);
                string type = isVector ? LaneText.TypeOf(declare.Value.Type) : declare.Value.Type.Keyword();
                return [$"{type} {NameOf(declare.Name)} = {(isVector ? Vector(declare.Value, mask is not null) : Scalar(declare.Value, mask is not null))};"];
            case RuleAssign assign:
                string name = NameOf(assign.Name);
                if (!_varying.Contains(assign.Name))
                    return [$"{name} = {Scalar(assign.Value, false)};"];
                string value = Vector(assign.Value, mask is not null);
                return [$"{name} = {(mask is null ? value : $"{LaneText.Vectors}.ConditionalSelect({mask}, {value}, {name})")};"];
            case RuleReturn result:
                return Return(Vector(result.Value, mask is not null), mask);
            case RuleLeave when mask != _loopMask:
                throw new NoLanesException("it leaves a loop at some tokens alone");
            case RuleLeave leave:
                return [leave.Turn ? "continue;" : "break;"];
            case RuleBlock block:
                return Braced("", Block(block.Body, mask));
            case RuleIf branch when !Varies(branch.Test):
                IEnumerable<string> lines = Braced($"if ({Scalar(branch.Test, mask is not null)})", Block(branch.Then, mask));
                return branch.Else.Count == 0 ? lines : [.. lines, .. Braced("else", Block(branch.Else, mask))];
            case RuleIf branch:
                return Masked(branch, mask);
            default:
                return For((RuleFor)statement, mask);
        }
    }

    private IEnumerable<string> Return(string value, string? mask)
    {
        if (mask is null)
            return [_leavesEarly ? $"return {LaneText.Vectors}.ConditionalSelect(done, result, {value});" : $"return {value};"];
        _someAreDone = true;
        // Lanes that have returned before keep what they returned.
        return
        [
            $"result = {LaneText.Vectors}.ConditionalSelect({LaneText.Vectors}.AndNot({mask}, done), {value}, result);",
            $"done |= {mask};",
        ];
    }

    private List<string> Masked(RuleIf branch, string? mask)
    {
        string test = _names.Unique("test"), then = mask is null ? test : _names.Unique("mask");
        List<string> lines = [$"{LaneText.TypeOf(RuleType.Int)} {test} = {Vector(branch.Test, mask is not null)};"];
        if (mask is not null)
            lines.Add($"{LaneText.TypeOf(RuleType.Int)} {then} = {test} & {mask};");
        lines.AddRange(Braced("", Block(branch.Then, then)));
        if (branch.Else.Count > 0)
        {
            string otherwise = _names.Unique("mask");
            lines.Add($"{LaneText.TypeOf(RuleType.Int)} {otherwise} = {(mask is null ? $"~{test}" : $"{LaneText.Vectors}.AndNot({mask}, {test})")};");
            lines.AddRange(Braced("", Block(branch.Else, otherwise)));
        }
        return lines;
    }

    private IEnumerable<string> For(RuleFor loop, string? mask)
    {
        if (Varies(loop.From) || Varies(loop.Bound))
            throw new NoLanesException("a loop of it has other bounds for other tokens");
        string counter = NameOf(loop.Name), from = Scalar(loop.From, IsConditional(mask)), bound = Scalar(loop.Bound, IsConditional(mask));
        // Nothing but the loop changes its counter.
        if (loop is { From: RuleLiteral { Bits: >= 0 }, Comparison: BinaryOperator.Less, Step: > 0, Bound: RuleLength length }
            && _varying.Contains(length.Span.Name))
            _inside.Add(loop.Name);
        else
            _inside.Remove(loop.Name);
        string? outer = _loopMask;
        _loopMask = mask;
        string step = loop.Step > 0 ? $"+= {RuleText.Int(loop.Step)}" : $"-= {RuleText.Int(-loop.Step)}";
        IEnumerable<string> lines = Braced(
            $"for (int {counter} = {from}; {counter} {RuleText.Operator(loop.Comparison)} {bound}; {counter} {step})", Block(loop.Body, mask));
        _loopMask = outer;
        return lines;
    }

    private static IEnumerable<string> Braced(string head, IEnumerable<string> lines) =>
        (head.Length > 0 ? new[] { head, "{" } : ["{"]).Concat(lines.Select(line => "    " + line)).Append("}");

    private bool IsConditional(string? mask) => mask is not null || _someAreDone;

    /// <summary>A value that all tokens share, as C#.</summary>
    private string Scalar(RuleExpression expression, bool isConditional)
    {
        // Computed in any case; where no token might come here it may not throw.
        if ((isConditional || _someAreDone) && expression.All.Any(ScalarText.MayThrow))
            throw new NoLanesException("it reads an element, or divides, under a condition");
        return ScalarText.Of(Spelt(expression));
    }

    /// <summary>The same expression with the names of C#.</summary>
    private RuleExpression Spelt(RuleExpression expression) => expression switch
    {
        RuleVariable variable => variable with { Name = NameOf(variable.Name) },
        RulePosition position => position with { Variable = "at" },
        RuleElement element => new RuleElement((RuleVariable)Spelt(element.Span), Spelt(element.Index)),
        RuleLength length when _varying.Contains(length.Span.Name) => new RuleVariable(RuleType.Int, "at.Dim"),
        RuleLength length => new RuleLength((RuleVariable)Spelt(length.Span)),
        RuleUnary unary => unary with { Operand = Spelt(unary.Operand) },
        RuleBinary binary => binary with { Left = Spelt(binary.Left), Right = Spelt(binary.Right) },
        RuleChoice choice => new RuleChoice(Spelt(choice.Test), Spelt(choice.Then), Spelt(choice.Else)),
        RuleCast cast => cast with { Operand = Spelt(cast.Operand) },
        RuleCall call => call with { Arguments = call.Arguments.Select(Spelt).ToEquatableArray() },
        RuleInvoke invoke => invoke with { Method = _rule.Scalar(invoke.Method), Arguments = invoke.Arguments.Select(Spelt).ToEquatableArray() },
        _ => expression,
    };

    private string Vector(RuleExpression expression, bool isConditional)
    {
        if (!Varies(expression))
            return LaneText.Same(Scalar(expression, isConditional), expression.Type);
        string Part(RuleExpression part, bool conditionally = false) => Vector(part, isConditional || conditionally);
        switch (expression)
        {
            case RuleVariable variable:
                return NameOf(variable.Name);
            case RulePosition:
                return "position";
            case RuleElement element:
                return Element(element, isConditional || _someAreDone);
            case RuleUnary unary:
                return LaneText.Unary(unary.Operator, Part(unary.Operand));
            case RuleBinary binary:
                bool isShort = binary.Operator is BinaryOperator.BothOf or BinaryOperator.EitherOf;
                if (LaneText.Binary(binary, () => Part(binary.Left), () => Part(binary.Right, isShort)) is { } text)
                    return text;
                if (Varies(binary.Right))
                    throw new NoLanesException("it shifts by a number that changes from token to token");
                return $"({Part(binary.Left)} {RuleText.Operator(binary.Operator)} ({Scalar(binary.Right, isConditional)} & 31))";
            case RuleChoice choice when !Varies(choice.Test):
                return $"({Scalar(choice.Test, isConditional)} ? {Part(choice.Then, true)} : {Part(choice.Else, true)})";
            case RuleChoice choice:
                return $"{LaneText.Vectors}.ConditionalSelect({Part(choice.Test)}, {Part(choice.Then, true)}, {Part(choice.Else, true)})";
            case RuleCast cast:
                return LaneText.Cast(cast.Type, Part(cast.Operand));
            case RuleCall call:
                return LaneText.Call(call.Function, call.Arguments.Select(a => Part(a)).ToArray());
            default:
                return Invoke((RuleInvoke)expression, isConditional || _someAreDone);
        }
    }

    private string Element(RuleElement element, bool isConditional)
    {
        string span = NameOf(element.Span.Name);
        if (!_varying.Contains(element.Span.Name))
        {
            if (element is not { Index: RulePosition { Part: PositionPart.Position } } || element.Type == RuleType.Bool)
                throw new NoLanesException("it reads elements that are not those of neighbouring tokens");
            return $"{LaneText.Lanes}.Load<{element.Type.Keyword()}>({span}, at.First + i)";
        }
        if (Varies(element.Index))
            throw new NoLanesException("it reads other elements of other tokens");
        if (isConditional && !(element.Index is RuleVariable counter && _inside.Contains(counter.Name)))
            throw new NoLanesException("it reads an element, or divides, under a condition");
        string index = ScalarText.Of(Spelt(element.Index));
        return $"{LaneText.Lanes}.Load<float>({span}, {index} * global::AttnCompose.Cpu.TokenSegment.Tokens + i)";
    }

    private string Invoke(RuleInvoke invoke, bool isConditional)
    {
        bool[] varies = [.. invoke.Arguments.Select(a => a.Type != RuleType.Token && Varies(a))];
        string function = _rule.Function(_rule.Method(invoke.Method), varies, isConditional);
        var arguments = invoke.Arguments.Select((argument, i) => (Argument: argument, Varies: varies[i])).Where(a => a.Argument.Type != RuleType.Token)
            .Select(a => ", " + (a.Argument.Type.IsSpan() ? NameOf(((RuleVariable)a.Argument).Name) : a.Varies ? Vector(a.Argument, isConditional) : Scalar(a.Argument, isConditional)));
        return $"{function}(in at, i{string.Concat(arguments)})";
    }

    private string ParameterType(RuleParameter parameter) => parameter.Type.IsSpan()
        ? $"global::System.ReadOnlySpan<{parameter.Type.Keyword()}>"
        : _given.Contains(parameter.Name) ? LaneText.TypeOf(parameter.Type) : parameter.Type.Keyword();

    private string NameOf(string name)
    {
        if (!_own.TryGetValue(name, out string? own))
            _own[name] = own = Names.CSharp(_names.Unique(name));
        return own;
    }
}
