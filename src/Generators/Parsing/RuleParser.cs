using System.Collections.Generic;
using System.Linq;
using System.Threading;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;

namespace AttnCompose.Generators.Parsing;

/// <summary>
/// Rule methods of a pipeline class to <see cref="RulesSpec"/> and <see cref="TokenRule"/>: their form and parameters here, their
/// bodies by <see cref="RuleReader"/>.
/// </summary>
internal sealed class RuleParser
{
    private const int MostSpans = 8; // RuleSpans.Most

    // Parameters that Run has anyway.
    private static readonly string[] s_runParameters = ["query", "key", "value", "output", "arguments", "stream", "rules"];

    private readonly List<DiagnosticInfo> _refusals = [];
    private readonly List<RuleSpec> _rules = [];
    private readonly List<RuleScalar> _scalars = [];
    private readonly List<RuleBuffer> _spans = [];
    private readonly List<ParameterSpec> _tokenScalars = [];
    private (AttributeData Attribute, RuleMethod Method)? _tokenScore;

    /// <summary>A token score that is a method.</summary>
    /// <param name="Attribute">Its attribute.</param>
    /// <param name="Stage">The stage that it becomes.</param>
    public sealed record TokenRule(AttributeData Attribute, StageSpec Stage);

    /// <summary>The rules of a class and what is wrong with them; null where something is, if only for the compiler to say.</summary>
    public static (RulesSpec? Rules, TokenRule? Score, EquatableArray<DiagnosticInfo> Refusals) Parse(
        INamedTypeSymbol type, Compilation compilation, CancellationToken cancellation)
    {
        IMethodSymbol[] methods = type.GetMembers().OfType<IMethodSymbol>().Where(method => KindOf(method).Any()).ToArray();
        if (methods.Length == 0)
            return (RulesSpec.None, null, []);
        var parser = new RuleParser();
        var bodies = new RuleBodies(type, compilation, cancellation);
        foreach (IMethodSymbol method in methods)
            parser.Add(method, bodies);
        EquatableArray<DiagnosticInfo> refusals = parser._refusals.Concat(bodies.Refusals).ToEquatableArray();
        if (refusals.Count > 0 || bodies.IsBroken)
            return (null, null, refusals);
        RuleMethod[] own = [.. parser._rules.Select(rule => rule.Method)];
        var rules = new RulesSpec(
            parser._rules.ToEquatableArray(),
            // A rule that another one calls is a rule all the same.
            Called(bodies.Helpers, own).Except(own).ToEquatableArray(), parser._scalars.ToEquatableArray(),
            parser._spans.Where(span => own.Any(method => Takes(method, span))).ToEquatableArray());
        return (rules, parser.ScoreOf(bodies), []);
    }

    private TokenRule? ScoreOf(RuleBodies bodies)
    {
        if (_tokenScore is not var (attribute, method))
            return null;
        var rule = new TokenRuleSpec(
            method, Called(bodies.Helpers, [method]).ToEquatableArray(), _spans.Where(span => Takes(method, span)).ToEquatableArray());
        return new TokenRule(attribute, StageParser.TokenScoreOf(attribute, rule, _tokenScalars));
    }

    private static bool Takes(RuleMethod method, RuleBuffer span) => method.Parameters.Any(p => p.Name == span.Name);

    /// <summary>Those of some methods that others call, directly or not, in the order of the first.</summary>
    private static IEnumerable<RuleMethod> Called(IReadOnlyList<RuleMethod> methods, IEnumerable<RuleMethod> by)
    {
        var names = new HashSet<string>(by.SelectMany(CalledBy));
        // A method comes after those that it calls.
        foreach (RuleMethod method in methods.Reverse().Where(method => names.Contains(method.Name)))
            names.UnionWith(CalledBy(method));
        return methods.Where(method => names.Contains(method.Name));

        static IEnumerable<string> CalledBy(RuleMethod method) => method.Body.SelectMany(s => s.All).SelectMany(s => s.Expressions)
            .SelectMany(e => e.All).OfType<RuleInvoke>().Select(invoke => invoke.Method);
    }

    /// <summary>The [ScoreModifier], [MaskModifier], [SinkLogit] and [TokenScoreRule] of a method.</summary>
    public static IEnumerable<AttributeData> KindOf(IMethodSymbol method) => method.GetAttributes().Where(a => FormOf(a) is not null);

    private static RuleForm? FormOf(AttributeData attribute) =>
        attribute.IsNamed(KnownTypeNames.MaskModifier) ? RuleForm.Mask
        : attribute.IsNamed(KnownTypeNames.ScoreModifier) ? RuleForm.Score
        : attribute.IsNamed(KnownTypeNames.SinkLogit) ? RuleForm.Sink
        : attribute.IsNamed(KnownTypeNames.TokenScoreRule) ? RuleForm.TokenScore
        : null;

    /// <summary>What a parameter is; null for what no rule takes.</summary>
    public static RuleType? TypeOf(ITypeSymbol type) => type.SpecialType switch
    {
        SpecialType.System_Single => RuleType.Float,
        SpecialType.System_Int32 => RuleType.Int,
        SpecialType.System_Boolean => RuleType.Bool,
        _ when type is not INamedTypeSymbol named => null,
        _ when AttributeReader.MetadataName((INamedTypeSymbol)type) == KnownTypeNames.ScorePosition => RuleType.Position,
        _ when AttributeReader.MetadataName((INamedTypeSymbol)type) == KnownTypeNames.TokenPosition => RuleType.Token,
        _ when AttributeReader.MetadataName((INamedTypeSymbol)type) == "System.ReadOnlySpan`1" =>
            ((INamedTypeSymbol)type).TypeArguments[0].SpecialType switch
            {
                SpecialType.System_Single => RuleType.FloatSpan,
                SpecialType.System_Int32 => RuleType.IntSpan,
                SpecialType.System_Boolean => RuleType.BoolSpan,
                _ => null,
            },
        _ => null,
    };

    private void Add(IMethodSymbol method, RuleBodies bodies)
    {
        AttributeData attribute = KindOf(method).First();
        RuleForm kind = FormOf(attribute)!.Value;
        if (FaultOf(method, kind) is { } fault)
        {
            Refuse(fault);
            return;
        }
        int given = kind == RuleForm.Score ? 2 : 1;
        bool isUsable = true;
        foreach (IParameterSymbol parameter in method.Parameters.Skip(given))
            isUsable &= AddParameter(method, kind, parameter);
        if (!isUsable || bodies.Read(method) is not { } body)
            return;
        if (kind == RuleForm.TokenScore)
        {
            _tokenScore = (attribute, body);
            return;
        }
        var rule = new RuleSpec(kind, body);
        if (kind == RuleForm.Sink && bodies.Reads(body, PositionPart.Key))
            Refuse("it reads at.Key, and a sink belongs to a row, not to a key");
        else
            _rules.Add(rule);

        void Refuse(string why) => _refusals.Add(new DiagnosticInfo(
            DiagnosticDescriptors.BadRule.Id, PlaceOf(method), [method.Name, kind.Words(), why]));
    }

    private string? FaultOf(IMethodSymbol method, RuleForm kind)
    {
        string form = kind switch
        {
            RuleForm.Mask => "bool Rule(in ScorePosition at, ...)",
            RuleForm.Score => "float Rule(float score, in ScorePosition at, ...)",
            RuleForm.TokenScore => "float Rule(in TokenPosition at, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ...)",
            _ => "float Rule(in ScorePosition at, ...)",
        };
        if (KindOf(method).Count() > 1)
            return "it is marked as two kinds of rule; keep one of [ScoreModifier], [MaskModifier], [SinkLogit] and [TokenScoreRule]";
        if (kind == RuleForm.Sink && _rules.FirstOrDefault(r => r.Kind == RuleForm.Sink) is { } other)
            return $"'{other.Method.CSharpName}' is the sink already, and a row has one; add up the two";
        if (kind == RuleForm.TokenScore && _tokenScore is var (_, score))
            return $"'{score.CSharpName}' is the token score already, and a pipeline has one; put the two together";
        if (!method.IsStatic)
            return $"it is not static; write static {form}";
        if (method.IsGenericMethod)
            return "it is generic";
        if (method.IsAsync || method.ReturnsByRef || method.ReturnsByRefReadonly)
            return $"it does not return a plain value; write static {form}";
        RuleType returns = kind == RuleForm.Mask ? RuleType.Bool : RuleType.Float;
        RuleType[] first = kind switch
        {
            RuleForm.Score => [RuleType.Float, RuleType.Position],
            RuleForm.TokenScore => [RuleType.Token],
            _ => [RuleType.Position],
        };
        bool isOfForm = TypeOf(method.ReturnType) == returns
            && method.Parameters.Take(first.Length).Select(p => TypeOf(p.Type)).SequenceEqual(first.Select(t => (RuleType?)t));
        return isOfForm ? null : $"its form is another; write static {form}";
    }

    private bool AddParameter(IMethodSymbol method, RuleForm kind, IParameterSymbol parameter)
    {
        if (parameter.RefKind is not (RefKind.None or RefKind.In or RefKind.RefReadOnlyParameter) || parameter.IsParams)
            return Bad("a rule takes its parameters by value");
        switch (TypeOf(parameter.Type))
        {
            case RuleType.Float or RuleType.Int or RuleType.Bool:
                return ScalarOf(method, parameter, out string? fault) is { } scalar ? Join(scalar) : Bad(fault!);
            case RuleType.FloatSpan when kind == RuleForm.TokenScore && parameter.Name is TokenRuleSpec.Key or TokenRuleSpec.Value:
                return true; // a vector of the token
            case RuleType.FloatSpan or RuleType.IntSpan or RuleType.BoolSpan:
                if (s_runParameters.Contains(parameter.Name))
                {
                    return Bad(kind == RuleForm.TokenScore
                        ? "a token score sees key and value of its token; what needs the queries is a stage"
                        : "it becomes an argument of Run, which has one of that name; give it another");
                }
                return JoinSpan(new RuleBuffer(parameter.Name, TypeOf(parameter.Type)!.Value, [method.Name]));
            default:
                return Bad($"its type is {parameter.Type.ToDisplayString()}; it must be a float, int or bool, which becomes an option, "
                    + "or a ReadOnlySpan of one of them, which becomes an argument of Run");
        }

        bool Bad(string why)
        {
            _refusals.Add(new DiagnosticInfo(DiagnosticDescriptors.BadRuleParameter.Id, PlaceOf(parameter), [parameter.Name, why]));
            return false;
        }

        bool Join(RuleScalar scalar)
        {
            if (kind == RuleForm.TokenScore)
            {
                if (StageParser.ParameterProperties(KindOf(method).First().AttributeClass!).Any(p => p.Name == scalar.Parameter.Name))
                    return Bad($"it becomes an option, and {scalar.Parameter.Name} is said by the attribute; give it another name");
                _tokenScalars.Add(scalar.Parameter);
                return true;
            }
            if (_spans.Any(s => s.Name == scalar.Name))
                return Bad("another rule has a span of that name; parameters of one name are one");
            int at = _scalars.FindIndex(s => s.Name == scalar.Name);
            if (at < 0)
                _scalars.Add(scalar);
            else if (_scalars[at].Parameter != scalar.Parameter)
                return Bad($"'{_scalars[at].Rules[0]}' declares it otherwise; parameters of one name are one option, of one type, default and range");
            else
                _scalars[at] = scalar with { Rules = _scalars[at].Rules.Concat(scalar.Rules).ToEquatableArray() };
            return true;
        }

        bool JoinSpan(RuleBuffer span)
        {
            if (_scalars.Any(s => s.Name == span.Name))
                return Bad("another rule has an option of that name; parameters of one name are one");
            int at = _spans.FindIndex(s => s.Name == span.Name);
            if (at < 0 && _spans.Count == MostSpans)
                return Bad($"the rules of a pipeline take at most {MostSpans} spans");
            if (at < 0)
                _spans.Add(span);
            else if (_spans[at].Type != span.Type)
                return Bad($"'{_spans[at].Rules[0]}' declares it otherwise; parameters of one name are one argument");
            else
                _spans[at] = span with { Rules = _spans[at].Rules.Concat(span.Rules).ToEquatableArray() };
            return true;
        }
    }

    private static RuleScalar? ScalarOf(IMethodSymbol method, IParameterSymbol parameter, out string? fault)
    {
        string type = TypeOf(parameter.Type)!.Value.Keyword();
        AttributeData? range = parameter.GetAttributes().FirstOrDefault(a => a.IsNamed(KnownTypeNames.RuntimeParameter));
        double value;
        if (range is not null)
        {
            fault = parameter.HasExplicitDefaultValue
                ? "it has a default value and [RuntimeParameter]; keep one of them"
                : StageParser.FaultOfValues(type, range);
            value = range.ConstructorArgument(0, 0.0);
        }
        else
        {
            value = parameter.HasExplicitDefaultValue ? Number(parameter.ExplicitDefaultValue) : 0;
            fault = !parameter.HasExplicitDefaultValue
                ? $"it becomes an option and has no default; write {type} {parameter.Name} = ..., or [RuntimeParameter(...)] before it"
                : ParameterSpec.CanHold(type, value) ? null : "its default is no finite number";
        }
        if (fault is not null)
            return null;
        bool isBool = type == "bool";
        string name = char.ToUpperInvariant(parameter.Name[0]) + parameter.Name.Substring(1);
        return new RuleScalar(
            parameter.Name,
            new ParameterSpec(
                name, type, IsConstant: false, value,
                isBool ? 0 : range?.Argument("Min", double.NegativeInfinity) ?? double.NegativeInfinity,
                isBool ? 1 : range?.Argument("Max", double.PositiveInfinity) ?? double.PositiveInfinity, DocumentationId: ""),
            [method.Name]);
    }

    // A float goes by its shortest text, so that 0.1f is 0.1.
    private static double Number(object? value) => value switch
    {
        bool flag => flag ? 1 : 0,
        int number => number,
        float number when !float.IsNaN(number) && !float.IsInfinity(number) => double.Parse(
            number.ToString("R", System.Globalization.CultureInfo.InvariantCulture), System.Globalization.CultureInfo.InvariantCulture),
        _ => double.NaN,
    };

    private static LocationSpec? PlaceOf(ISymbol symbol) => LocationSpec.From(symbol.Locations.FirstOrDefault());
}
