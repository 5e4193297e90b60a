using System.Numerics.Tensors;

namespace AttnCompose.Cpu;

/// <summary>Whether a condition can hold and whether it can fail among the pairs of a tile.</summary>
/// <param name="CanHold">Whether it can hold; where not, no pair fulfils it.</param>
/// <param name="CanFail">Whether it can fail; where not, every pair fulfils it.</param>
public readonly record struct RuleVerdict(bool CanHold, bool CanFail)
{
    /// <summary>Nothing is known.</summary>
    public static RuleVerdict Any => new(true, true);
}

/// <summary>An int lies in [Low, High].</summary>
/// <param name="Low">The least value.</param>
/// <param name="High">The greatest value.</param>
public readonly record struct IntRange(int Low, int High)
{
    /// <summary>Nothing is known.</summary>
    public static IntRange Any => new(int.MinValue, int.MaxValue);

    /// <summary>Whether it is one value.</summary>
    public bool IsPoint => Low == High;
}

/// <summary>A float lies in [Low, High], or is NaN where it says so.</summary>
/// <param name="Low">The least number.</param>
/// <param name="High">The greatest number.</param>
/// <param name="CanBeNaN">Whether it can be NaN.</param>
public readonly record struct FloatRange(float Low, float High, bool CanBeNaN)
{
    /// <summary>Nothing is known.</summary>
    public static FloatRange Any => new(float.NegativeInfinity, float.PositiveInfinity, true);

    /// <summary>Whether it is one number.</summary>
    public bool IsPoint => Low == High && !CanBeNaN;

    /// <summary>Whether both ends are finite.</summary>
    public bool IsFinite => Low > float.NegativeInfinity && High < float.PositiveInfinity;
}

/// <summary>Where the pairs of a tile of scores stand: see <see cref="ScorePosition"/>.</summary>
/// <param name="Batch">Sequences.</param>
/// <param name="QueryHead">Query heads.</param>
/// <param name="KeyValueHead">Key/value heads.</param>
/// <param name="Query">Positions of the queries.</param>
/// <param name="Key">Positions of the keys.</param>
public readonly record struct TileRanges(IntRange Batch, IntRange QueryHead, IntRange KeyValueHead, IntRange Query, IntRange Key);

/// <summary>
/// Rules over ranges, called by generated code: what a mask rule says of all pairs of a tile, from the first and last positions of
/// its queries and keys. The device has the same functions, <c>attncompose/rule_ranges.cuh</c>. Rounding keeps the order of
/// values, so the bounds of a rounded sum are the rounded sums of bounds. What is not followed may be anything, which costs a
/// test and is never wrong. Nothing throws: an index outside a span, or a division by 0, may give anything.
/// </summary>
public static class RuleRanges
{
    // Longer spans of a tile are not looked through.
    private const int MostElements = 8192;

    /// <summary>A bool.</summary>
    public static RuleVerdict Of(bool value) => new(value, !value);

    /// <summary>An int.</summary>
    public static IntRange Of(int value) => new(value, value);

    /// <summary>A float.</summary>
    public static FloatRange Of(float value) => float.IsNaN(value) ? FloatRange.Any : new(value, value, false);

    /// <summary>Not a.</summary>
    public static RuleVerdict Invert(RuleVerdict a) => new(a.CanFail, a.CanHold);

    /// <summary>a and b.</summary>
    public static RuleVerdict Both(RuleVerdict a, RuleVerdict b) => new(a.CanHold && b.CanHold, a.CanFail || b.CanFail);

    /// <summary>a or b.</summary>
    public static RuleVerdict Either(RuleVerdict a, RuleVerdict b) => new(a.CanHold || b.CanHold, a.CanFail && b.CanFail);

    /// <summary>a == b.</summary>
    public static RuleVerdict Equal(RuleVerdict a, RuleVerdict b) =>
        new((a.CanHold && b.CanHold) || (a.CanFail && b.CanFail), (a.CanHold && b.CanFail) || (a.CanFail && b.CanHold));

    /// <summary>test ? a : b.</summary>
    public static RuleVerdict Choose(RuleVerdict test, RuleVerdict a, RuleVerdict b) =>
        new((test.CanHold && a.CanHold) || (test.CanFail && b.CanHold), (test.CanHold && a.CanFail) || (test.CanFail && b.CanFail));

    /// <summary>test ? a : b.</summary>
    public static IntRange Choose(RuleVerdict test, IntRange a, IntRange b) => !test.CanFail ? a : !test.CanHold ? b : Hull(a, b);

    /// <summary>a + b.</summary>
    public static IntRange Add(IntRange a, IntRange b) => Fit((long)a.Low + b.Low, (long)a.High + b.High);

    /// <summary>a - b.</summary>
    public static IntRange Subtract(IntRange a, IntRange b) => Fit((long)a.Low - b.High, (long)a.High - b.Low);

    /// <summary>a * b.</summary>
    public static IntRange Multiply(IntRange a, IntRange b)
    {
        long p = (long)a.Low * b.Low, q = (long)a.Low * b.High, r = (long)a.High * b.Low, s = (long)a.High * b.High;
        return Fit(Math.Min(Math.Min(p, q), Math.Min(r, s)), Math.Max(Math.Max(p, q), Math.Max(r, s)));
    }

    /// <summary>a / b, followed for one divisor above 0: the quotient then rises with what is divided.</summary>
    public static IntRange Divide(IntRange a, IntRange b) => b.IsPoint && b.Low > 0 ? new(a.Low / b.Low, a.High / b.Low) : IntRange.Any;

    /// <summary>a % b.</summary>
    public static IntRange Remainder(IntRange a, IntRange b)
    {
        if (!b.IsPoint || b.Low <= 0)
            return IntRange.Any;
        int by = b.Low;
        if (a.Low / by == a.High / by && (a.Low >= 0) == (a.High >= 0))
            return new(a.Low % by, a.High % by);
        return new(a.Low < 0 ? 1 - by : 0, a.High > 0 ? by - 1 : 0);
    }

    /// <summary>a &amp; b.</summary>
    public static IntRange BitAnd(IntRange a, IntRange b)
    {
        if (a.IsPoint && b.IsPoint)
            return Of(a.Low & b.Low);
        if (a.Low >= 0 && b.Low >= 0)
            return new(0, Math.Min(a.High, b.High));
        return a.Low >= 0 ? new(0, a.High) : b.Low >= 0 ? new(0, b.High) : IntRange.Any;
    }

    /// <summary>a | b.</summary>
    public static IntRange BitOr(IntRange a, IntRange b) => a.IsPoint && b.IsPoint ? Of(a.Low | b.Low) : IntRange.Any;

    /// <summary>a ^ b.</summary>
    public static IntRange BitXor(IntRange a, IntRange b) => a.IsPoint && b.IsPoint ? Of(a.Low ^ b.Low) : IntRange.Any;

    /// <summary>a &lt;&lt; b.</summary>
    public static IntRange ShiftLeft(IntRange a, IntRange b) => a.IsPoint && b.IsPoint ? Of(a.Low << b.Low) : IntRange.Any;

    /// <summary>a &gt;&gt; b.</summary>
    public static IntRange ShiftRight(IntRange a, IntRange b) => b.IsPoint ? new(a.Low >> b.Low, a.High >> b.Low) : IntRange.Any;

    /// <summary>a &gt;&gt;&gt; b.</summary>
    public static IntRange ShiftRightLogical(IntRange a, IntRange b)
    {
        if (a.Low >= 0)
            return ShiftRight(a, b);
        return a.IsPoint && b.IsPoint ? Of(a.Low >>> b.Low) : IntRange.Any;
    }

    /// <summary>-a.</summary>
    public static IntRange Negate(IntRange a) => Subtract(Of(0), a);

    /// <summary>~a.</summary>
    public static IntRange Complement(IntRange a) => new(~a.High, ~a.Low);

    /// <summary>The lesser one.</summary>
    public static IntRange Min(IntRange a, IntRange b) => new(Math.Min(a.Low, b.Low), Math.Min(a.High, b.High));

    /// <summary>The greater one.</summary>
    public static IntRange Max(IntRange a, IntRange b) => new(Math.Max(a.Low, b.Low), Math.Max(a.High, b.High));

    /// <summary><c>Math.Clamp</c>.</summary>
    public static IntRange Clamp(IntRange a, IntRange low, IntRange high) => low.High <= high.Low ? Min(Max(a, low), high) : IntRange.Any;

    /// <summary>The magnitude.</summary>
    public static IntRange Abs(IntRange a)
    {
        if (a.Low == int.MinValue)
            return IntRange.Any;
        return a.Low >= 0 ? a : a.High <= 0 ? new(-a.High, -a.Low) : new(0, Math.Max(-a.Low, a.High));
    }

    /// <summary>a &lt; b.</summary>
    public static RuleVerdict Less(IntRange a, IntRange b) => new(a.Low < b.High, a.High >= b.Low);

    /// <summary>a &lt;= b.</summary>
    public static RuleVerdict LessOrEqual(IntRange a, IntRange b) => new(a.Low <= b.High, a.High > b.Low);

    /// <summary>a == b.</summary>
    public static RuleVerdict Equal(IntRange a, IntRange b) =>
        new(a.Low <= b.High && b.Low <= a.High, !(a.IsPoint && b.IsPoint && a.Low == b.Low));

    /// <summary>test ? a : b.</summary>
    public static FloatRange Choose(RuleVerdict test, FloatRange a, FloatRange b) =>
        !test.CanFail ? a : !test.CanHold ? b : new(Math.Min(a.Low, b.Low), Math.Max(a.High, b.High), a.CanBeNaN || b.CanBeNaN);

    /// <summary>a + b.</summary>
    public static FloatRange Add(FloatRange a, FloatRange b)
    {
        float low = a.Low + b.Low, high = a.High + b.High;
        return OfCorners(low, low, high, high, CanMakeNaN(a, b));
    }

    /// <summary>a - b.</summary>
    public static FloatRange Subtract(FloatRange a, FloatRange b) => Add(a, Negate(b));

    /// <summary>-a.</summary>
    public static FloatRange Negate(FloatRange a) => new(-a.High, -a.Low, a.CanBeNaN);

    /// <summary>a * b.</summary>
    public static FloatRange Multiply(FloatRange a, FloatRange b) =>
        OfCorners(a.Low * b.Low, a.Low * b.High, a.High * b.Low, a.High * b.High, CanMakeNaN(a, b));

    /// <summary>a / b.</summary>
    public static FloatRange Divide(FloatRange a, FloatRange b) => b.Low > 0 || b.High < 0
        ? OfCorners(a.Low / b.Low, a.Low / b.High, a.High / b.Low, a.High / b.High, CanMakeNaN(a, b))
        : FloatRange.Any;

    /// <summary>The lesser one.</summary>
    public static FloatRange Min(FloatRange a, FloatRange b) =>
        new(Math.Min(a.Low, b.Low), Math.Min(a.High, b.High), a.CanBeNaN || b.CanBeNaN);

    /// <summary>The greater one.</summary>
    public static FloatRange Max(FloatRange a, FloatRange b) =>
        new(Math.Max(a.Low, b.Low), Math.Max(a.High, b.High), a.CanBeNaN || b.CanBeNaN);

    /// <summary><c>Math.Clamp</c>.</summary>
    public static FloatRange Clamp(FloatRange a, FloatRange low, FloatRange high) =>
        low.High <= high.Low && !low.CanBeNaN && !high.CanBeNaN ? Min(Max(a, low), high) : FloatRange.Any;

    /// <summary>The magnitude.</summary>
    public static FloatRange Abs(FloatRange a) =>
        a.Low >= 0 ? a : a.High <= 0 ? Negate(a) : new(0, Math.Max(-a.Low, a.High), a.CanBeNaN);

    /// <summary><c>MathF.Floor</c>.</summary>
    public static FloatRange Floor(FloatRange a) => new(MathF.Floor(a.Low), MathF.Floor(a.High), a.CanBeNaN);

    /// <summary><c>MathF.Ceiling</c>.</summary>
    public static FloatRange Ceiling(FloatRange a) => new(MathF.Ceiling(a.Low), MathF.Ceiling(a.High), a.CanBeNaN);

    /// <summary><c>MathF.Truncate</c>.</summary>
    public static FloatRange Truncate(FloatRange a) => new(MathF.Truncate(a.Low), MathF.Truncate(a.High), a.CanBeNaN);

    /// <summary><c>MathF.Round</c>.</summary>
    public static FloatRange Round(FloatRange a) => new(MathF.Round(a.Low), MathF.Round(a.High), a.CanBeNaN);

    /// <summary>The result of a function that is not followed.</summary>
    public static FloatRange AnyFloat() => FloatRange.Any;

    /// <summary><c>float.IsNaN</c>.</summary>
    public static RuleVerdict IsNaN(FloatRange a) => new(a.CanBeNaN, true);

    /// <summary><c>float.IsFinite</c>.</summary>
    public static RuleVerdict IsFinite(FloatRange a) => new(true, a.CanBeNaN || !a.IsFinite);

    /// <summary>a &lt; b.</summary>
    public static RuleVerdict Less(FloatRange a, FloatRange b) => new(a.Low < b.High, a.CanBeNaN || b.CanBeNaN || !(a.High < b.Low));

    /// <summary>a &lt;= b.</summary>
    public static RuleVerdict LessOrEqual(FloatRange a, FloatRange b) =>
        new(a.Low <= b.High, a.CanBeNaN || b.CanBeNaN || !(a.High <= b.Low));

    /// <summary>a == b.</summary>
    public static RuleVerdict Equal(FloatRange a, FloatRange b) =>
        new(a.Low <= b.High && b.Low <= a.High, !(a.IsPoint && b.IsPoint && a.Low == b.Low));

    /// <summary>An int as a float.</summary>
    public static FloatRange ToFloat(IntRange a) => new(a.Low, a.High, false);

    /// <summary>A float cut off to an int.</summary>
    public static IntRange ToInt(FloatRange a)
    {
        var range = new IntRange((int)a.Low, (int)a.High);
        return a.CanBeNaN ? Hull(range, Of(0)) : range;
    }

    /// <summary>Elements of a span at the indices of a range.</summary>
    public static IntRange Element(ReadOnlySpan<int> span, IntRange index) =>
        TryCut(span, index, out ReadOnlySpan<int> part) ? new(TensorPrimitives.Min(part), TensorPrimitives.Max(part)) : IntRange.Any;

    /// <summary>Elements of a span at the indices of a range.</summary>
    public static FloatRange Element(ReadOnlySpan<float> span, IntRange index)
    {
        if (!TryCut(span, index, out ReadOnlySpan<float> part))
            return FloatRange.Any;
        // NaN where there is one.
        float low = TensorPrimitives.Min(part);
        return float.IsNaN(low) ? FloatRange.Any : new(low, TensorPrimitives.Max(part), false);
    }

    /// <summary>Elements of a span at the indices of a range.</summary>
    public static RuleVerdict Element(ReadOnlySpan<bool> span, IntRange index) =>
        TryCut(span, index, out ReadOnlySpan<bool> part) ? new(part.Contains(true), part.Contains(false)) : RuleVerdict.Any;

    /// <summary>Elements of a span at the indices of a range.</summary>
    public static IntRange Element(RuleSpan<int> span, IntRange index) => Element((ReadOnlySpan<int>)span, index);

    /// <summary>Elements of a span at the indices of a range.</summary>
    public static FloatRange Element(RuleSpan<float> span, IntRange index) => Element((ReadOnlySpan<float>)span, index);

    /// <summary>Elements of a span at the indices of a range.</summary>
    public static RuleVerdict Element(RuleSpan<bool> span, IntRange index) => Element((ReadOnlySpan<bool>)span, index);

    /// <summary>Elements of a span.</summary>
    public static IntRange Length<T>(RuleSpan<T> span) where T : unmanaged => Of(span.Length);

    private static bool TryCut<T>(ReadOnlySpan<T> span, IntRange index, out ReadOnlySpan<T> part)
    {
        bool fits = index.Low >= 0 && index.High < span.Length && index.High - index.Low < MostElements;
        part = fits ? span[index.Low..(index.High + 1)] : default;
        return fits;
    }

    private static IntRange Hull(IntRange a, IntRange b) => new(Math.Min(a.Low, b.Low), Math.Max(a.High, b.High));

    // What wraps round somewhere may be anything, unless all is one value.
    private static IntRange Fit(long low, long high)
    {
        if (low == high)
            return Of(unchecked((int)low));
        return low >= int.MinValue && high <= int.MaxValue ? new((int)low, (int)high) : IntRange.Any;
    }

    // From four values of which the least and the greatest are bounds.
    private static FloatRange OfCorners(float p, float q, float r, float s, bool canBeNaN)
    {
        float low = Math.Min(Math.Min(p, q), Math.Min(r, s)); // NaN where one of them is
        return float.IsNaN(low) ? FloatRange.Any : new(low, Math.Max(Math.Max(p, q), Math.Max(r, s)), canBeNaN);
    }

    // Infinite values may make a NaN of each other.
    private static bool CanMakeNaN(FloatRange a, FloatRange b) => a.CanBeNaN || b.CanBeNaN || !a.IsFinite || !b.IsFinite;
}
