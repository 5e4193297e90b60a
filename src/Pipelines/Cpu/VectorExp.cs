using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace AttnCompose.Pipelines.Cpu;

/// <summary>
/// 2^x for x of at most 127, within an ulp: x = n + f with n the nearest integer, 2^f by a polynomial of degree 6 (relative
/// error 1e-8 over [-1/2, 1/2]), then the exponent. -inf gives +0, NaN stays NaN. Where the result is subnormal, 256 bits give
/// +0 and 512 bits the rounded value.
/// </summary>
internal static class VectorExp
{
    // Interpolates (2^f - 1) / f at the Chebyshev nodes of [-1/2, 1/2].
    private const float C1 = 0.693147182f;
    private const float C2 = 0.240226507f;
    private const float C3 = 0.0555035695f;
    private const float C4 = 0.00961808302f;
    private const float C5 = 0.00133908633f;
    private const float C6 = 0.000154531634f;

    /// <summary>2^x of 16 values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp2(Vector512<float> x)
    {
        x = Vector512.MaxNative(Vector512.Create(-150f), x); // keeps f finite; in this order of the operands NaN stays
        Vector512<float> n = Avx512F.RoundScale(x, 0);
        Vector512<float> f = x - n;
        Vector512<float> p = Vector512.FusedMultiplyAdd(Vector512.Create(C6), f, Vector512.Create(C5));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(C4));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(C3));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(C2));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(C1));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512<float>.One);
        return Avx512F.Scale(p, n);
    }

    /// <summary>2^x of 8 values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> x)
    {
        const float Magic = 12582912f; // 1.5 * 2^23: added and taken away again, it rounds to an integer
        Vector256<float> clamped = Vector256.MaxNative(Vector256.Create(-126f), x);
        Vector256<float> shifted = clamped + Vector256.Create(Magic);
        Vector256<float> f = clamped - (shifted - Vector256.Create(Magic));
        Vector256<float> p = Vector256.FusedMultiplyAdd(Vector256.Create(C6), f, Vector256.Create(C5));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(C4));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(C3));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(C2));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(C1));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256<float>.One);
        Vector256<float> scale = ((shifted.AsInt32() + Vector256.Create(127)) << 23).AsSingle();
        return Vector256.AndNot(p * scale, Vector256.LessThan(x, Vector256.Create(-126f)));
    }
}
