using System.Collections.Generic;
using System.Linq;
using System.Threading;
using AttnCompose.Generators.Diagnostics;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Operations;

namespace AttnCompose.Generators.Parsing;

/// <summary>
/// Bodies of a class's rules and of the methods that they call, each read once. Collects what has no device form, all of it:
/// reading goes on after a refusal.
/// </summary>
internal sealed class RuleBodies(INamedTypeSymbol type, Compilation compilation, CancellationToken cancellation)
{
    private const int LongestQuote = 40;

    private readonly Dictionary<IMethodSymbol, RuleMethod?> _read = new(SymbolEqualityComparer.Default);
    private readonly HashSet<IMethodSymbol> _open = new(SymbolEqualityComparer.Default);
    private readonly NameSet _names = new();

    /// <summary>What has no device form.</summary>
    public List<DiagnosticInfo> Refusals { get; } = [];

    /// <summary>Methods that rules call, each after those that it calls itself.</summary>
    public List<RuleMethod> Helpers { get; } = [];

    /// <summary>Whether there is text that the compiler itself refuses.</summary>
    public bool IsBroken { get; set; }

    /// <summary>A rule's method.</summary>
    public RuleMethod? Read(IMethodSymbol rule) => _read.TryGetValue(rule, out RuleMethod? known) ? known : ReadBody(rule);

    /// <summary>Whether a method, or one that it calls, reads a part of the position.</summary>
    public bool Reads(RuleMethod method, PositionPart part) => method.Body.SelectMany(s => s.All).SelectMany(s => s.Expressions)
        .SelectMany(e => e.All).Any(e => e switch
        {
            RulePosition position => position.Part == part,
            RuleInvoke invoke => _read.Values.FirstOrDefault(m => m?.Name == invoke.Method) is { } called && Reads(called, part),
            _ => false,
        });

    /// <summary>A method that a body calls; null where it has no device form, which has been said then.</summary>
    public RuleMethod? Call(IMethodSymbol method, IOperation at)
    {
        if (_open.Contains(method))
        {
            Refuse(at, "a rule may not be recursive; write a for loop");
            return null;
        }
        if (_read.TryGetValue(method, out RuleMethod? known))
            return known;
        if (FaultOf(method) is { } fault)
        {
            Refuse(at, fault);
            return null;
        }
        RuleMethod? read = ReadBody(method);
        if (read is not null)
            Helpers.Add(read);
        return read;
    }

    /// <summary>Says that something has no device form, and what to write instead.</summary>
    public void Refuse(IOperation at, string instead) => Refuse(at.Syntax, instead);

    /// <summary>Likewise, of a piece of syntax.</summary>
    public void Refuse(SyntaxNode at, string instead) => Refusals.Add(new DiagnosticInfo(
        DiagnosticDescriptors.NotTranslatable.Id, LocationSpec.From(at.GetLocation()), [Quote(at), instead]));

    /// <summary>Says that the end of a loop cannot be seen.</summary>
    public void RefuseLoop(SyntaxNode at, string instead) => Refusals.Add(new DiagnosticInfo(
        DiagnosticDescriptors.UnboundedLoop.Id, LocationSpec.From(at.GetLocation()), [instead]));

    private RuleMethod? ReadBody(IMethodSymbol method)
    {
        cancellation.ThrowIfCancellationRequested();
        _read[method] = null;
        SyntaxNode? syntax = method.DeclaringSyntaxReferences.Select(r => r.GetSyntax(cancellation)).FirstOrDefault();
        // The implementing part of a partial method has the body.
        if (method.PartialImplementationPart is { } part)
            syntax = part.DeclaringSyntaxReferences[0].GetSyntax(cancellation);
        IMethodBodyOperation? body = syntax is null
            ? null
            : compilation.GetSemanticModel(syntax.SyntaxTree).GetOperation(syntax, cancellation) as IMethodBodyOperation;
        if ((body?.BlockBody ?? body?.ExpressionBody) is not { } block)
        {
            IsBroken = true; // no body, which the compiler reports
            return null;
        }
        int refusals = Refusals.Count;
        _open.Add(method);
        EquatableArray<RuleStatement> statements = new RuleReader(this, type).Read(block);
        _open.Remove(method);
        if (refusals < Refusals.Count || IsBroken)
            return null;
        var read = new RuleMethod(
            _names.Unique(method.Name), Names.CSharp(method.Name), RuleParser.TypeOf(method.ReturnType)!.Value,
            method.Parameters.Select(p => new RuleParameter(p.Name, RuleParser.TypeOf(p.Type)!.Value)).ToEquatableArray(), statements);
        _read[method] = read;
        return read;
    }

    private static string? FaultOf(IMethodSymbol method)
    {
        if (!method.IsStatic || method.IsGenericMethod || method.IsExtern || method.IsAsync || method.ReturnsByRef || method.ReturnsByRefReadonly)
            return "a rule calls plain static methods of its class only";
        if (RuleParser.TypeOf(method.ReturnType) is not (RuleType.Float or RuleType.Int or RuleType.Bool))
            return "a method that a rule calls returns a float, int or bool";
        foreach (IParameterSymbol parameter in method.Parameters)
        {
            if (RuleParser.TypeOf(parameter.Type) is null || parameter.IsParams
                || parameter.RefKind is not (RefKind.None or RefKind.In or RefKind.RefReadOnlyParameter))
                return $"its parameter '{parameter.Name}' is no float, int, bool, position or ReadOnlySpan by value";
        }
        return null;
    }

    private static string Quote(SyntaxNode node)
    {
        string text = string.Join(" ", node.ToString().Split('{')[0].Split([' ', '\n', '\r', '\t'], System.StringSplitOptions.RemoveEmptyEntries));
        return text.Length <= LongestQuote ? text : text.Substring(0, LongestQuote) + "...";
    }
}
