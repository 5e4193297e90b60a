using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace AttnCompose.Cpu;

/// <summary>
/// What the vector form of a rule is made of, beside <see cref="Vector"/>: a vector of neighbouring scores at a time, also at
/// the end of a segment, so that a score does not depend on where its segment begins.
/// </summary>
public static class RuleLanes
{
    // tanh(x) / x as a polynomial of x^2 over [0, 0.625^2]; relative error 2e-8.
    private const float TanhBorder = 0.625f;
    private const float T1 = -0.333333284f;
    private const float T2 = 0.133327693f;
    private const float T3 = -0.0538509078f;
    private const float T4 = 0.0209971797f;
    private const float T5 = -0.00609671418f;

    /// <summary>Elements from <paramref name="index"/> on, 0 beyond the end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Load<T>(ReadOnlySpan<T> values, int index) where T : unmanaged
    {
        if ((uint)index <= (uint)(values.Length - Vector<T>.Count) && values.Length >= Vector<T>.Count)
            return Vector.LoadUnsafe(ref MemoryMarshal.GetReference(values), (nuint)index);
        Span<T> part = stackalloc T[Vector<T>.Count];
        part.Clear();
        values[index..Math.Min(values.Length, index + part.Length)].CopyTo(part);
        return new Vector<T>(part);
    }

    /// <summary>Stores elements from <paramref name="index"/> on, as far as there is room.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(Vector<T> vector, Span<T> values, int index) where T : unmanaged
    {
        if (values.Length - index >= Vector<T>.Count)
        {
            vector.StoreUnsafe(ref MemoryMarshal.GetReference(values), (nuint)index);
            return;
        }
        Span<T> part = stackalloc T[Vector<T>.Count];
        vector.CopyTo(part);
        part[..(values.Length - index)].CopyTo(values[index..]);
    }

    /// <summary>Positions of the keys of scores <paramref name="index"/> on; without meaning beyond the end of a segment.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<int> Keys(in ScoreSegment at, int index) =>
        at.Keys.IsEmpty ? Vector.Create(at.FirstKey + index) + Vector<int>.Indices : Load(at.Keys, index);

    /// <summary>All lanes true or all false.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<int> Mask(bool value) => value ? Vector<int>.AllBitsSet : Vector<int>.Zero;

    /// <summary><c>Math.Clamp</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Clamp<T>(Vector<T> value, Vector<T> low, Vector<T> high) where T : unmanaged =>
        Vector.ConditionalSelect(
            Vector.LessThan(value, low), low, Vector.ConditionalSelect(Vector.GreaterThan(value, high), high, value));

    /// <summary><c>MathF.Tanh</c>, within 3 units in the last place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<float> Tanh(Vector<float> x)
    {
        Vector<float> square = x * x;
        Vector<float> p = Vector.FusedMultiplyAdd(Vector.Create(T5), square, Vector.Create(T4));
        p = Vector.FusedMultiplyAdd(p, square, Vector.Create(T3));
        p = Vector.FusedMultiplyAdd(p, square, Vector.Create(T2));
        p = Vector.FusedMultiplyAdd(p, square, Vector.Create(T1));
        Vector<float> near = Vector.FusedMultiplyAdd(p * square, x, x);
        // 1 - 2 / (e^2|x| + 1); beyond the range of e^x the quotient is 0.
        Vector<float> exponential = Vector.Exp(Vector.Abs(x) + Vector.Abs(x));
        Vector<float> far = Vector.CopySign(Vector<float>.One - Vector.Create(2f) / (exponential + Vector<float>.One), x);
        return Vector.ConditionalSelect(Vector.LessThan(Vector.Abs(x), Vector.Create(TanhBorder)), near, far);
    }

    /// <summary><see cref="RuleMath.SoftCap"/>, within 5 units in the last place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<float> SoftCap(Vector<float> score, Vector<float> cap) => cap * Tanh(score / cap);

    /// <summary><c>float.IsFinite</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<int> IsFinite(Vector<float> x) =>
        Vector.LessThan(Vector.Abs(x), Vector.Create(float.PositiveInfinity));
}
