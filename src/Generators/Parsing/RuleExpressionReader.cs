using System;
using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Model;
using AttnCompose.Generators.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Operations;

namespace AttnCompose.Generators.Parsing;

/// <summary>The expressions of one method as trees. What has no device form becomes a zero, after it has been refused.</summary>
internal sealed class RuleExpressionReader(RuleBodies bodies, INamedTypeSymbol type)
{
    // The compiler's own stack is the bound of what it can read; this one is well inside it.
    private const int Deepest = 100;

    private int _depth;

    /// <summary>An expression.</summary>
    public RuleExpression Read(IOperation operation)
    {
        if (_depth >= Deepest)
        {
            bodies.Refuse(operation, "it is nested too deeply; name its parts by locals");
            return Zero(operation);
        }
        _depth++;
        try
        {
            return ReadKind(operation);
        }
        finally
        {
            _depth--;
        }
    }

    /// <summary>The value that a compound assignment leaves; null where it has been refused.</summary>
    public RuleExpression? Compound(ICompoundAssignmentOperation compound)
    {
        if (!compound.InConversion.IsIdentity || !compound.OutConversion.IsIdentity)
        {
            bodies.Refuse(compound, "it converts the result; write the operation and the cast out");
            return null;
        }
        return Operate(compound, compound.OperatorKind, compound.OperatorMethod, compound.IsChecked, compound.IsLifted, compound.Target, compound.Value);
    }

    /// <summary>The number 1.</summary>
    public static RuleExpression One(RuleType type) => type == RuleType.Float ? Float(1) : new RuleLiteral(type, 1);

    /// <summary>Refuses an expression for its type, at a literal of it where there is one. False where its type is fine.</summary>
    public bool RefuseType(IOperation? operation)
    {
        if (operation?.Type is not { } found || RuleParser.TypeOf(found) is RuleType.Float or RuleType.Int or RuleType.Bool)
            return false;
        if (found.TypeKind == TypeKind.Error)
        {
            bodies.IsBroken = true;
            return true;
        }
        IOperation at = operation.DescendantsAndSelf().FirstOrDefault(o => o is ILiteralOperation && SymbolEqualityComparer.Default.Equals(o.Type, found))
            ?? operation;
        string name = found.ToDisplayString();
        bodies.Refuse(at, (at, found.SpecialType) switch
        {
            (ILiteralOperation, SpecialType.System_Double) => $"it is a double; write {at.Syntax}f",
            (IInvocationOperation { TargetMethod: var method }, SpecialType.System_Double) when RuleFunctions.IsKnown(method.Name) =>
                $"it is a double; write MathF.{method.Name}",
            _ => $"its type is {name}; a rule computes in float, int and bool",
        });
        return true;
    }

    private RuleExpression ReadKind(IOperation operation)
    {
        if (operation.ConstantValue is { HasValue: true, Value: { } constant } && operation.Type is not null
            && RuleParser.TypeOf(operation.Type) is RuleType.Float or RuleType.Int or RuleType.Bool && Literal(constant) is { } literal)
            return literal;
        switch (operation)
        {
            case IInvalidOperation:
                bodies.IsBroken = true;
                return Zero(operation);
            case IParenthesizedOperation inner:
                return Read(inner.Operand);
            case ILocalReferenceOperation local when RuleParser.TypeOf(local.Type!) is RuleType.Float or RuleType.Int or RuleType.Bool:
                return new RuleVariable(RuleParser.TypeOf(local.Type!)!.Value, local.Local.Name);
            case IParameterReferenceOperation parameter when RuleParser.TypeOf(parameter.Type!) is { } of:
                return new RuleVariable(of, parameter.Parameter.Name);
            case IPropertyReferenceOperation property:
                return Property(property);
            case IFieldReferenceOperation field:
                return Refused(field, SymbolEqualityComparer.Default.Equals(field.Field.ContainingType, type)
                    ? "make it a const, or a parameter of the rule"
                    : "a rule reads constants and its parameters");
            case IUnaryOperation unary:
                return Unary(unary);
            case IBinaryOperation binary:
                return Operate(
                    binary, binary.OperatorKind, binary.OperatorMethod, binary.IsChecked, binary.IsLifted, binary.LeftOperand, binary.RightOperand)
                    ?? Zero(operation);
            case IConversionOperation conversion:
                return Convert(conversion);
            case IConditionalOperation { IsRef: false, WhenFalse: { } otherwise } conditional when !RefuseType(conditional):
                RuleExpression test = Read(conditional.Condition), then = Read(conditional.WhenTrue), last = Read(otherwise);
                return test is RuleLiteral { Bits: var bits } ? (bits != 0 ? then : last) : new RuleChoice(test, then, last);
            case IInvocationOperation invocation:
                return Invoke(invocation);
            case ISwitchExpressionOperation choice when !RefuseType(choice):
                return Switch(choice);
            case IIsPatternOperation pattern:
                return Match(Read(pattern.Value), pattern.Pattern);
            case IAssignmentOperation or IIncrementOrDecrementOperation:
                return Refused(operation, "assign in a statement of its own");
            default:
                return RefuseType(operation)
                    ? Zero(operation)
                    : Refused(operation, "a rule has arithmetic, comparisons, conditions, casts, MathF, and methods of its own class");
        }
    }

    private RuleExpression Property(IPropertyReferenceOperation property)
    {
        if (property.Instance is { Type: { } owner } and (IParameterReferenceOperation or ILocalReferenceOperation)
            && RuleParser.TypeOf(owner) is { } of && Read(property.Instance) is RuleVariable instance)
        {
            if (of is RuleType.Position or RuleType.Token && Enum.TryParse(property.Property.Name, out PositionPart part))
                return new RulePosition(instance.Name, part);
            if (of.IsSpan() && property.Property.IsIndexer && property.Arguments.Length == 1)
                return new RuleElement(instance, Read(property.Arguments[0].Value));
            if (of.IsSpan() && property.Property.Name == "Length")
                return new RuleLength(instance);
        }
        bool isOwn = property.Instance is null or IParameterReferenceOperation or ILocalReferenceOperation;
        return Refused(isOwn ? property : property.Instance!, "a rule reads its position, the elements of its spans and their Length");
    }

    private RuleExpression Unary(IUnaryOperation unary)
    {
        if (RefuseType(unary))
            return Zero(unary);
        if (unary.OperatorMethod is not null || unary.IsLifted)
            return Refused(unary, "only operators of float, int and bool have a device form");
        if (unary.IsChecked && unary.Type!.SpecialType == SpecialType.System_Int32)
            return Refused(unary, "a device wraps round on overflow; write unchecked(...)");
        RuleExpression operand = Read(unary.Operand);
        switch (unary.OperatorKind)
        {
            case UnaryOperatorKind.Plus: return operand;
            case UnaryOperatorKind.Minus: return new RuleUnary(UnaryOperator.Negate, operand);
            case UnaryOperatorKind.BitwiseNegation: return new RuleUnary(UnaryOperator.Complement, operand);
            case UnaryOperatorKind.Not: return new RuleUnary(UnaryOperator.Not, operand);
            default: return Refused(unary, "write the comparison out");
        }
    }

    private RuleExpression? Operate(
        IOperation at, BinaryOperatorKind kind, IMethodSymbol? method, bool isChecked, bool isLifted, IOperation left, IOperation right)
    {
        // A literal of the wrong type is usually what made the other operand one.
        if (RefuseType(at) || (right is ILiteralOperation && RefuseType(right)) || RefuseType(left) || RefuseType(right))
            return null;
        if (method is not null || isLifted || OperatorOf(kind) is not { } found)
        {
            bodies.Refuse(at, "only operators of float, int and bool have a device form");
            return null;
        }
        RuleType operands = RuleParser.TypeOf(left.Type!)!.Value, result = RuleParser.TypeOf(at.Type!)!.Value;
        if (isChecked && operands == RuleType.Int && found is BinaryOperator.Add or BinaryOperator.Subtract or BinaryOperator.Multiply)
        {
            bodies.Refuse(at, "a device wraps round on overflow; write unchecked(...)");
            return null;
        }
        if (operands == RuleType.Float && found == BinaryOperator.Remainder)
        {
            bodies.Refuse(at, "write x - y * MathF.Truncate(x / y)");
            return null;
        }
        return new RuleBinary(result, found, Read(left), Read(right));
    }

    private RuleExpression Convert(IConversionOperation conversion)
    {
        if (RefuseType(conversion.Operand) || RefuseType(conversion))
            return Zero(conversion);
        RuleType to = RuleParser.TypeOf(conversion.Type!)!.Value, from = RuleParser.TypeOf(conversion.Operand.Type!)!.Value;
        RuleExpression operand = Read(conversion.Operand);
        if (to == from)
            return operand;
        if (conversion.OperatorMethod is not null || (to, from) is not ((RuleType.Float, RuleType.Int) or (RuleType.Int, RuleType.Float)))
            return Refused(conversion, "only int and float are converted into each other");
        if (conversion.IsChecked && to == RuleType.Int)
            return Refused(conversion, "a device does not throw on overflow; write unchecked(...)");
        return new RuleCast(to, operand);
    }

    private RuleExpression Invoke(IInvocationOperation invocation)
    {
        IMethodSymbol method = invocation.TargetMethod;
        if (method.MethodKind == MethodKind.LocalFunction)
            return Zero(invocation); // refused where it is declared
        if (RuleFunctions.Find(method) is { } function)
        {
            return new RuleCall(
                RuleParser.TypeOf(method.ReturnType)!.Value, function, invocation.Arguments.Select(a => Read(a.Value)).ToEquatableArray());
        }
        if (SymbolEqualityComparer.Default.Equals(method.ContainingType, type))
        {
            if (bodies.Call(method, invocation) is not { } called)
                return Zero(invocation);
            IEnumerable<RuleExpression> arguments = invocation.Arguments.OrderBy(a => a.Parameter!.Ordinal).Select(a => Read(a.Value));
            return new RuleInvoke(called.Returns, called.Name, arguments.ToEquatableArray());
        }
        if (RefuseType(invocation))
            return Zero(invocation);
        return Refused(invocation, RuleFunctions.Instead(method));
    }

    private RuleExpression Switch(ISwitchExpressionOperation choice)
    {
        RuleExpression value = Read(choice.Value);
        RuleExpression? result = null;
        for (int i = choice.Arms.Length - 1; i >= 0; i--)
        {
            ISwitchExpressionArmOperation arm = choice.Arms[i];
            RuleExpression test = Match(value, arm.Pattern);
            if (arm.Guard is { } guard)
                test = new RuleBinary(RuleType.Bool, BinaryOperator.BothOf, test, Read(guard));
            RuleExpression then = Read(arm.Value);
            if (result is null)
            {
                if (test is not RuleLiteral && !choice.IsExhaustive)
                    return Refused(arm, "a device cannot throw; end with an arm _ => ...");
                result = then;
            }
            else
            {
                result = new RuleChoice(test, then, result);
            }
        }
        return result ?? Zero(choice);
    }

    private RuleExpression Match(RuleExpression value, IPatternOperation pattern)
    {
        switch (pattern)
        {
            case IDiscardPatternOperation:
                return new RuleLiteral(RuleType.Bool, 1);
            case IConstantPatternOperation constant when !RefuseType(constant.Value):
                return new RuleBinary(RuleType.Bool, BinaryOperator.Equal, value, Read(constant.Value));
            case IRelationalPatternOperation relational when !RefuseType(relational.Value) && OperatorOf(relational.OperatorKind) is { } comparison:
                return new RuleBinary(RuleType.Bool, comparison, value, Read(relational.Value));
            case INegatedPatternOperation negated:
                return new RuleUnary(UnaryOperator.Not, Match(value, negated.Pattern));
            case IBinaryPatternOperation both:
                BinaryOperator join = both.OperatorKind == BinaryOperatorKind.Or ? BinaryOperator.EitherOf : BinaryOperator.BothOf;
                return new RuleBinary(RuleType.Bool, join, Match(value, both.LeftPattern), Match(value, both.RightPattern));
            default:
                return Refused(pattern, "a pattern is a constant, a comparison with one, and, or, not, or _");
        }
    }

    private RuleExpression Refused(IOperation operation, string instead)
    {
        bodies.Refuse(operation, instead);
        return Zero(operation);
    }

    private static RuleExpression Zero(IOperation operation) => new RuleLiteral(
        operation.Type is { } of && RuleParser.TypeOf(of) is RuleType.Int or RuleType.Bool ? RuleParser.TypeOf(operation.Type)!.Value : RuleType.Float, 0);

    private static RuleLiteral? Literal(object constant) => constant switch
    {
        bool flag => new RuleLiteral(RuleType.Bool, flag ? 1 : 0),
        int number => new RuleLiteral(RuleType.Int, number),
        float number => Float(number),
        _ => null,
    };

    private static RuleLiteral Float(float value) => new(RuleType.Float, BitConverter.ToInt32(BitConverter.GetBytes(value), 0));

    private static BinaryOperator? OperatorOf(BinaryOperatorKind kind) => kind switch
    {
        BinaryOperatorKind.Add => BinaryOperator.Add,
        BinaryOperatorKind.Subtract => BinaryOperator.Subtract,
        BinaryOperatorKind.Multiply => BinaryOperator.Multiply,
        BinaryOperatorKind.Divide => BinaryOperator.Divide,
        BinaryOperatorKind.Remainder => BinaryOperator.Remainder,
        BinaryOperatorKind.And => BinaryOperator.And,
        BinaryOperatorKind.Or => BinaryOperator.Or,
        BinaryOperatorKind.ExclusiveOr => BinaryOperator.Xor,
        BinaryOperatorKind.LeftShift => BinaryOperator.ShiftLeft,
        BinaryOperatorKind.RightShift => BinaryOperator.ShiftRight,
        BinaryOperatorKind.UnsignedRightShift => BinaryOperator.ShiftRightLogical,
        BinaryOperatorKind.ConditionalAnd => BinaryOperator.BothOf,
        BinaryOperatorKind.ConditionalOr => BinaryOperator.EitherOf,
        BinaryOperatorKind.Equals => BinaryOperator.Equal,
        BinaryOperatorKind.NotEquals => BinaryOperator.NotEqual,
        BinaryOperatorKind.LessThan => BinaryOperator.Less,
        BinaryOperatorKind.LessThanOrEqual => BinaryOperator.LessOrEqual,
        BinaryOperatorKind.GreaterThan => BinaryOperator.Greater,
        BinaryOperatorKind.GreaterThanOrEqual => BinaryOperator.GreaterOrEqual,
        _ => null,
    };
}
