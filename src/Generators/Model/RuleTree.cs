using System.Collections.Generic;
using System.Linq;
using AttnCompose.Generators.Support;

namespace AttnCompose.Generators.Model;

// The body of a rule, as values. Every expression is typed and has no effect but its value.

/// <summary>An expression.</summary>
internal abstract record RuleExpression(RuleType Type)
{
    /// <summary>What it is made of, from left to right.</summary>
    public virtual IEnumerable<RuleExpression> Parts => [];

    /// <summary>It and all that it is made of.</summary>
    public IEnumerable<RuleExpression> All => Parts.SelectMany(part => part.All).Prepend(this);
}

/// <summary>A constant: bits of a float, an int, or 0 and 1 of a bool.</summary>
internal sealed record RuleLiteral(RuleType Type, int Bits) : RuleExpression(Type);

/// <summary>A parameter or local.</summary>
internal sealed record RuleVariable(RuleType Type, string Name) : RuleExpression(Type);

/// <summary>A part of the position of a score or token.</summary>
internal sealed record RulePosition(string Variable, PositionPart Part) : RuleExpression(RuleType.Int);

/// <summary>An element of a span.</summary>
internal sealed record RuleElement(RuleVariable Span, RuleExpression Index) : RuleExpression(Span.Type.Element())
{
    public override IEnumerable<RuleExpression> Parts => [Index];

    /// <summary>The part of a problem that has an element for each value of the index; none where the index may be anything.</summary>
    public RuleAxes Axis => (Index as RulePosition)?.Part switch
    {
        PositionPart.Batch => RuleAxes.Batch,
        PositionPart.QueryHead => RuleAxes.QueryHeads,
        PositionPart.KeyValueHead => RuleAxes.KeyValueHeads,
        PositionPart.Key or PositionPart.Position => RuleAxes.Keys,
        // With more queries than keys, which the full mask allows, the first ones stand before position 0.
        _ => RuleAxes.None,
    };
}

/// <summary>The length of a span.</summary>
internal sealed record RuleLength(RuleVariable Span) : RuleExpression(RuleType.Int);

/// <summary>An operator with one operand.</summary>
internal sealed record RuleUnary(UnaryOperator Operator, RuleExpression Operand) : RuleExpression(Operand.Type)
{
    public override IEnumerable<RuleExpression> Parts => [Operand];
}

/// <summary>An operator with two operands of one type.</summary>
internal sealed record RuleBinary(RuleType Type, BinaryOperator Operator, RuleExpression Left, RuleExpression Right) : RuleExpression(Type)
{
    public override IEnumerable<RuleExpression> Parts => [Left, Right];
}

/// <summary>One of two values.</summary>
internal sealed record RuleChoice(RuleExpression Test, RuleExpression Then, RuleExpression Else) : RuleExpression(Then.Type)
{
    public override IEnumerable<RuleExpression> Parts => [Test, Then, Else];
}

/// <summary>An int as a float, or a float cut off to an int.</summary>
internal sealed record RuleCast(RuleType Type, RuleExpression Operand) : RuleExpression(Type)
{
    public override IEnumerable<RuleExpression> Parts => [Operand];
}

/// <summary>A function of the platform.</summary>
internal sealed record RuleCall(RuleType Type, RuleFunction Function, EquatableArray<RuleExpression> Arguments) : RuleExpression(Type)
{
    public override IEnumerable<RuleExpression> Parts => Arguments;
}

/// <summary>A method of the pipeline class; positions and spans are handed on as variables.</summary>
internal sealed record RuleInvoke(RuleType Type, string Method, EquatableArray<RuleExpression> Arguments) : RuleExpression(Type)
{
    public override IEnumerable<RuleExpression> Parts => Arguments;
}

internal enum PositionPart
{
    Batch,
    QueryHead,
    KeyValueHead,
    Query,
    Key,
    Position,
    Length,
}

internal enum UnaryOperator
{
    Negate,
    Complement,
    Not,
}

/// <summary>Comparisons come last, so that an order tells them apart. And, Or and Xor are of int or bool.</summary>
internal enum BinaryOperator
{
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
    ShiftRightLogical,
    BothOf,
    EitherOf,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// <summary>Functions that have a device form; named as in C#.</summary>
internal enum RuleFunction
{
    Abs,
    Min,
    Max,
    Clamp,
    Sqrt,
    Floor,
    Ceiling,
    Truncate,
    Round,
    FusedMultiplyAdd,
    CopySign,
    Exp,
    Log,
    Log2,
    Pow,
    Tanh,
    FastTanh,
    SoftCap,
    IsNaN,
    IsFinite,
}

/// <summary>A statement.</summary>
internal abstract record RuleStatement
{
    /// <summary>Statements inside it.</summary>
    public virtual IEnumerable<RuleStatement> Inner => [];

    /// <summary>It and all inside it.</summary>
    public IEnumerable<RuleStatement> All => Inner.SelectMany(inner => inner.All).Prepend(this);

    /// <summary>Expressions of its own, those of inner statements left out.</summary>
    public virtual IEnumerable<RuleExpression> Expressions => [];
}

/// <summary>A local and its first value.</summary>
internal sealed record RuleDeclare(string Name, RuleExpression Value) : RuleStatement
{
    public override IEnumerable<RuleExpression> Expressions => [Value];
}

/// <summary>A new value of a parameter or local.</summary>
internal sealed record RuleAssign(string Name, RuleExpression Value) : RuleStatement
{
    public override IEnumerable<RuleExpression> Expressions => [Value];
}

/// <summary>One of two lists of statements.</summary>
internal sealed record RuleIf(RuleExpression Test, EquatableArray<RuleStatement> Then, EquatableArray<RuleStatement> Else) : RuleStatement
{
    public override IEnumerable<RuleStatement> Inner => Then.Concat(Else);

    public override IEnumerable<RuleExpression> Expressions => [Test];
}

/// <summary>A loop over an int that its body leaves alone, from a value on while it lies on one side of a bound that stays.</summary>
internal sealed record RuleFor(
    string Name, RuleExpression From, BinaryOperator Comparison, RuleExpression Bound, int Step, EquatableArray<RuleStatement> Body)
    : RuleStatement
{
    public override IEnumerable<RuleStatement> Inner => Body;

    public override IEnumerable<RuleExpression> Expressions => [From, Bound];
}

/// <summary>A list of statements with locals of its own.</summary>
internal sealed record RuleBlock(EquatableArray<RuleStatement> Body) : RuleStatement
{
    public override IEnumerable<RuleStatement> Inner => Body;
}

/// <summary>Leaves the innermost loop, or its turn.</summary>
internal sealed record RuleLeave(bool Turn) : RuleStatement;

/// <summary>The result.</summary>
internal sealed record RuleReturn(RuleExpression Value) : RuleStatement
{
    public override IEnumerable<RuleExpression> Expressions => [Value];
}
