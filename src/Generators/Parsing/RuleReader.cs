using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Operations;

namespace AttnCompose.Generators.Parsing;

/// <summary>The statements of one method as a tree.</summary>
internal sealed class RuleReader(RuleBodies bodies, INamedTypeSymbol type)
{
    private readonly RuleExpressionReader _expressions = new(bodies, type);

    public EquatableArray<RuleStatement> Read(IBlockOperation body) => ReadAll(body.Operations);

    private EquatableArray<RuleStatement> ReadAll(IEnumerable<IOperation> operations) =>
        operations.SelectMany(Read).ToEquatableArray();

    private EquatableArray<RuleStatement> ReadNested(IOperation? operation) => operation switch
    {
        null => [],
        IBlockOperation block => ReadAll(block.Operations),
        _ => ReadAll([operation]),
    };

    private IEnumerable<RuleStatement> Read(IOperation operation)
    {
        switch (operation)
        {
            case IBlockOperation block:
                return [new RuleBlock(ReadAll(block.Operations))];
            case IVariableDeclarationGroupOperation group:
                return group.Declarations.SelectMany(d => d.Declarators).SelectMany(Declare);
            case IExpressionStatementOperation { Operation: var inner }:
                return Effect(inner);
            case IConditionalOperation conditional:
                RuleExpression test = _expressions.Read(conditional.Condition);
                EquatableArray<RuleStatement> then = ReadNested(conditional.WhenTrue), otherwise = ReadNested(conditional.WhenFalse);
                // A branch that is never taken would be unreachable code of the device.
                return test is RuleLiteral { Bits: var bits } ? [new RuleBlock(bits != 0 ? then : otherwise)] : [new RuleIf(test, then, otherwise)];
            case IForLoopOperation loop:
                return For(loop);
            case IBranchOperation { BranchKind: BranchKind.Break or BranchKind.Continue } branch:
                return [new RuleLeave(branch.BranchKind == BranchKind.Continue)];
            case IReturnOperation { ReturnedValue: { } value }:
                return [new RuleReturn(_expressions.Read(value))];
            case IEmptyOperation:
                return [];
            case ILoopOperation:
                bodies.RefuseLoop(Head(operation.Syntax), "write for (int i = ...; i < bound; i++), and leave it early by break");
                return [];
            case ISwitchOperation:
                bodies.Refuse(Head(operation.Syntax), "write a switch expression, or if and else");
                return [];
            case ILocalFunctionOperation:
                bodies.Refuse(Head(operation.Syntax), "make it a static method of the class");
                return [];
            case IThrowOperation:
                bodies.Refuse(operation, "a device cannot throw; return a value");
                return [];
            case IInvalidOperation:
                bodies.IsBroken = true;
                return [];
            default:
                bodies.Refuse(Head(operation.Syntax), "a rule has locals, assignments, if, for and return");
                return [];
        }
    }

    private IEnumerable<RuleStatement> Declare(IVariableDeclaratorOperation declarator)
    {
        ILocalSymbol local = declarator.Symbol;
        IOperation? value = declarator.Initializer?.Value ?? (declarator.Parent as IVariableDeclarationOperation)?.Initializer?.Value;
        if (local.IsConst)
            return []; // its uses are constants
        if (local.IsRef || RuleParser.TypeOf(local.Type) is not (RuleType.Float or RuleType.Int or RuleType.Bool))
        {
            if (local.Type.TypeKind == TypeKind.Error)
                bodies.IsBroken = true;
            else if (!_expressions.RefuseType(value))
                bodies.Refuse(declarator, $"its type is {local.Type.ToDisplayString()}; a local is a float, int or bool");
            return [];
        }
        RuleType of = RuleParser.TypeOf(local.Type)!.Value;
        return [new RuleDeclare(local.Name, value is null ? new RuleLiteral(of, 0) : _expressions.Read(value))];
    }

    private IEnumerable<RuleStatement> Effect(IOperation operation)
    {
        switch (operation)
        {
            case ISimpleAssignmentOperation { IsRef: false } assignment when NameOf(assignment.Target) is { } name:
                return [new RuleAssign(name, _expressions.Read(assignment.Value))];
            case ICompoundAssignmentOperation compound when NameOf(compound.Target) is { } name:
                return _expressions.Compound(compound) is { } value ? [new RuleAssign(name, value)] : [];
            case IIncrementOrDecrementOperation { IsChecked: false } step when NameOf(step.Target) is { } name
                && RuleParser.TypeOf(step.Target.Type!) is RuleType.Int or RuleType.Float:
                RuleExpression target = _expressions.Read(step.Target);
                BinaryOperator sign = step.Kind == OperationKind.Increment ? BinaryOperator.Add : BinaryOperator.Subtract;
                return [new RuleAssign(name, new RuleBinary(target.Type, sign, target, RuleExpressionReader.One(target.Type)))];
            case IInvalidOperation:
                bodies.IsBroken = true;
                return [];
            default:
                bodies.Refuse(operation, "a statement assigns to a local or parameter, and has no other effect");
                return [];
        }
    }

    private static string? NameOf(IOperation target) => target switch
    {
        ILocalReferenceOperation { IsDeclaration: false } local => local.Local.Name,
        IParameterReferenceOperation { Parameter.RefKind: RefKind.None } parameter => parameter.Parameter.Name,
        _ => null,
    };

    private IEnumerable<RuleStatement> For(IForLoopOperation loop)
    {
        SyntaxNode at = Head(loop.Syntax);
        const string Form = "write for (int i = first; i < bound; i++), with a constant step, and change neither i nor the bound inside";
        IVariableDeclaratorOperation[] counters = [.. loop.Before.OfType<IVariableDeclarationGroupOperation>()
            .SelectMany(g => g.Declarations).SelectMany(d => d.Declarators)];
        if (loop.Before.Length != 1 || counters.Length != 1 || counters[0] is not { } counter
            || counter.Symbol.Type.SpecialType != SpecialType.System_Int32
            || StepOf(loop, counter.Symbol) is not { } step || BoundOf(loop, counter.Symbol) is not var (comparison, limit))
        {
            bodies.RefuseLoop(at, Form);
            return [];
        }
        RuleExpression from = counter.Initializer is { } first ? _expressions.Read(first.Value) : new RuleLiteral(RuleType.Int, 0);
        RuleExpression bound = _expressions.Read(limit);
        EquatableArray<RuleStatement> body = ReadNested(loop.Body);
        bool ascends = comparison is BinaryOperator.Less or BinaryOperator.LessOrEqual;
        var kept = new HashSet<string>(bound.All.OfType<RuleVariable>().Select(v => v.Name)) { counter.Symbol.Name };
        if (ascends != step > 0 || body.SelectMany(s => s.All).OfType<RuleAssign>().Any(a => kept.Contains(a.Name)))
        {
            bodies.RefuseLoop(at, Form);
            return [];
        }
        return [new RuleFor(counter.Symbol.Name, from, comparison, bound, step, body)];
    }

    private static int? StepOf(IForLoopOperation loop, ILocalSymbol counter)
    {
        if (loop.AtLoopBottom.Length != 1 || loop.AtLoopBottom[0] is not IExpressionStatementOperation { Operation: var operation })
            return null;
        int? step = operation switch
        {
            IIncrementOrDecrementOperation { IsChecked: false } one when Is(one.Target) => one.Kind == OperationKind.Increment ? 1 : -1,
            ICompoundAssignmentOperation { IsChecked: false, Value.ConstantValue: { HasValue: true, Value: int by } } compound when Is(compound.Target) =>
                compound.OperatorKind switch
                {
                    BinaryOperatorKind.Add => by,
                    BinaryOperatorKind.Subtract when by != int.MinValue => -by,
                    _ => null,
                },
            _ => null,
        };
        return step is 0 ? null : step;

        bool Is(IOperation target) =>
            target is ILocalReferenceOperation reference && SymbolEqualityComparer.Default.Equals(reference.Local, counter);
    }

    private static (BinaryOperator Comparison, IOperation Bound)? BoundOf(IForLoopOperation loop, ILocalSymbol counter)
    {
        if (loop.Condition is not IBinaryOperation { OperatorMethod: null } condition
            || condition.LeftOperand is not ILocalReferenceOperation left || !SymbolEqualityComparer.Default.Equals(left.Local, counter))
            return null;
        return condition.OperatorKind switch
        {
            BinaryOperatorKind.LessThan => (BinaryOperator.Less, condition.RightOperand),
            BinaryOperatorKind.LessThanOrEqual => (BinaryOperator.LessOrEqual, condition.RightOperand),
            BinaryOperatorKind.GreaterThan => (BinaryOperator.Greater, condition.RightOperand),
            BinaryOperatorKind.GreaterThanOrEqual => (BinaryOperator.GreaterOrEqual, condition.RightOperand),
            _ => null,
        };
    }

    // Where a long statement is at fault, its first token says so.
    private static SyntaxNode Head(SyntaxNode node) => node switch
    {
        ForStatementSyntax loop when loop.Condition is not null => loop.Condition,
        WhileStatementSyntax loop => loop.Condition,
        DoStatementSyntax loop => loop.Condition,
        ForEachStatementSyntax loop => loop.Expression,
        SwitchStatementSyntax statement => statement.Expression,
        _ => node,
    };
}
