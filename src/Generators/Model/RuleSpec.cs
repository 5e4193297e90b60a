using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Model;

/// <summary>The rules of attention scores of a pipeline: score and mask methods, the methods that they call, and what they are given.</summary>
/// <param name="Rules">The rules, in declared order.</param>
/// <param name="Helpers">Other methods of the class that they call, each after those that it calls itself.</param>
/// <param name="Scalars">What becomes options; one that several rules name alike is one.</param>
/// <param name="Spans">What becomes arguments of Run, likewise.</param>
internal sealed record RulesSpec(
    EquatableArray<RuleSpec> Rules,
    EquatableArray<RuleMethod> Helpers,
    EquatableArray<RuleScalar> Scalars,
    EquatableArray<RuleBuffer> Spans)
{
    public static RulesSpec None { get; } = new([], [], [], []);

    /// <summary>Those that mask, which apply first.</summary>
    public IEnumerable<RuleSpec> Masks => Rules.Where(rule => rule.Kind == RuleForm.Mask);

    /// <summary>Those that change scores.</summary>
    public IEnumerable<RuleSpec> Scores => Rules.Where(rule => rule.Kind == RuleForm.Score);

    /// <summary>The one that gives a row's sink logit; null where there is none.</summary>
    public RuleSpec? Sink => Rules.FirstOrDefault(rule => rule.Kind == RuleForm.Sink);

    /// <summary>Whether there are any that mask or change scores.</summary>
    public bool ChangeScores => Rules.Any(rule => rule.Kind != RuleForm.Sink);

    /// <summary>Every method, by name.</summary>
    public Dictionary<string, RuleMethod> Methods => Helpers.Concat(Rules.Select(rule => rule.Method)).ToDictionary(method => method.Name);
}

/// <summary>One rule.</summary>
/// <param name="Kind">What it decides.</param>
/// <param name="Method">The method. A score rule's first parameter is the score.</param>
internal sealed record RuleSpec(RuleForm Kind, RuleMethod Method)
{
    /// <summary>Parameters that every rule of its kind has: the position, and before it the score.</summary>
    public int Given => Kind == RuleForm.Score ? 2 : 1;
}

/// <summary>The method that is a pipeline's token score. Its scalars are parameters of the stage that it becomes.</summary>
/// <param name="Method">The method. Its first parameter is the token's position.</param>
/// <param name="Helpers">Other methods of the class that it calls, each after those that it calls itself.</param>
/// <param name="Spans">What becomes arguments of Run; the token's vectors are not among them.</param>
internal sealed record TokenRuleSpec(RuleMethod Method, EquatableArray<RuleMethod> Helpers, EquatableArray<RuleBuffer> Spans)
{
    /// <summary>Names of the parameters that are the token's vectors.</summary>
    public const string Key = "key", Value = "value";

    /// <summary>Whether it reads key vectors.</summary>
    public bool ReadsKey => Method.Parameters.Any(p => p.Name == Key);

    /// <summary>Whether it reads value vectors.</summary>
    public bool ReadsValue => Method.Parameters.Any(p => p.Name == Value);

    /// <summary>Whether query heads of a group may have different scores.</summary>
    public bool DiffersByQueryHead => Helpers.Append(Method).SelectMany(m => m.Body).SelectMany(s => s.All)
        .SelectMany(s => s.Expressions).SelectMany(e => e.All).Any(e => e is RulePosition { Part: PositionPart.QueryHead });
}

internal static class RuleForms
{
    /// <summary>The kind in words.</summary>
    public static string Words(this RuleForm kind) => kind switch
    {
        RuleForm.Mask => "mask rule",
        RuleForm.Score => "score rule",
        RuleForm.TokenScore => "token score",
        _ => "sink",
    };
}

/// <summary>A method with its body as a tree.</summary>
/// <param name="Name">Its name; where the class has several of one name, followed by a number.</param>
/// <param name="CSharpName">Its name as it is spelt in C#.</param>
/// <param name="Returns">Float, int or bool.</param>
/// <param name="Parameters">Its parameters, in order.</param>
/// <param name="Body">Statements; every path returns.</param>
internal sealed record RuleMethod(
    string Name, string CSharpName, RuleType Returns, EquatableArray<RuleParameter> Parameters, EquatableArray<RuleStatement> Body);

/// <summary>A parameter of a method.</summary>
internal sealed record RuleParameter(string Name, RuleType Type);

/// <summary>A scalar parameter of rules: an option.</summary>
/// <param name="Name">Name of the C# parameter.</param>
/// <param name="Parameter">Type, default and range; its name is that of the option, in Pascal case.</param>
/// <param name="Rules">Names of the rules that it is a parameter of, the first one first.</param>
internal sealed record RuleScalar(string Name, ParameterSpec Parameter, EquatableArray<string> Rules);

/// <summary>A span parameter of rules: an argument of Run.</summary>
/// <param name="Name">Name of the C# parameter.</param>
/// <param name="Type">Span of float, int or bool.</param>
/// <param name="Rules">Names of the rules that it is a parameter of.</param>
internal sealed record RuleBuffer(string Name, RuleType Type, EquatableArray<string> Rules);

/// <summary>What a value of a rule is.</summary>
internal enum RuleType
{
    Float,
    Int,
    Bool,
    Position,
    Token,
    FloatSpan,
    IntSpan,
    BoolSpan,
}

internal static class RuleTypes
{
    /// <summary>Type of a span's elements; the type itself where it is no span.</summary>
    public static RuleType Element(this RuleType type) => type switch
    {
        RuleType.FloatSpan => RuleType.Float,
        RuleType.IntSpan => RuleType.Int,
        RuleType.BoolSpan => RuleType.Bool,
        _ => type,
    };

    public static bool IsSpan(this RuleType type) => type >= RuleType.FloatSpan;

    /// <summary>The C# keyword of a scalar type or of a span's elements.</summary>
    public static string Keyword(this RuleType type) => type.Element() switch
    {
        RuleType.Float => "float",
        RuleType.Int => "int",
        _ => "bool",
    };
}
