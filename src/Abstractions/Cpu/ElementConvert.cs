using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace AttnCompose.Cpu;

/// <summary>Conversion of rows between float32 and the element types that pipelines take.</summary>
public static class ElementConvert
{
    /// <summary>Whether a type is one that pipelines take: float, <see cref="Half"/> or <see cref="BFloat16"/>.</summary>
    public static bool IsSupported<T>() => typeof(T) == typeof(float) || typeof(T) == typeof(Half) || typeof(T) == typeof(BFloat16);

    /// <summary>The element type of a C# type; <see cref="ElementType.Any"/> where pipelines do not take it.</summary>
    public static ElementType TypeOf<T>() =>
        typeof(T) == typeof(float) ? ElementType.Float32
        : typeof(T) == typeof(Half) ? ElementType.Float16
        : typeof(T) == typeof(BFloat16) ? ElementType.BFloat16
        : ElementType.Any;

    /// <summary>Converts to float32, exactly. <paramref name="destination"/> is at least as long as <paramref name="source"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ToFloat<T>(ReadOnlySpan<T> source, Span<float> destination) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
        {
            MemoryMarshal.Cast<T, float>(source).CopyTo(destination);
        }
        else if (typeof(T) == typeof(Half))
        {
            TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<T, Half>(source), destination);
        }
        else if (typeof(T) == typeof(BFloat16))
        {
            ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<T, ushort>(source);
            ref ushort from = ref MemoryMarshal.GetReference(bits);
            ref uint to = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(destination[..bits.Length]));
            int i = 0;
            for (; i <= bits.Length - Vector256<ushort>.Count; i += Vector256<ushort>.Count)
            {
                (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.LoadUnsafe(ref from, (nuint)i));
                (low << 16).StoreUnsafe(ref to, (nuint)i);
                (high << 16).StoreUnsafe(ref to, (nuint)(i + Vector256<uint>.Count));
            }
            for (; i < bits.Length; i++)
                Unsafe.Add(ref to, i) = (uint)Unsafe.Add(ref from, i) << 16;
        }
        else
        {
            throw Unsupported<T>();
        }
    }

    /// <summary>Converts from float32, rounding to nearest even. <paramref name="destination"/> is at least as long as <paramref name="source"/>.</summary>
    public static void FromFloat<T>(ReadOnlySpan<float> source, Span<T> destination) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
        {
            source.CopyTo(MemoryMarshal.Cast<T, float>(destination));
        }
        else if (typeof(T) == typeof(Half))
        {
            TensorPrimitives.ConvertToHalf(source, MemoryMarshal.Cast<T, Half>(destination));
        }
        else if (typeof(T) == typeof(BFloat16))
        {
            Span<BFloat16> to = MemoryMarshal.Cast<T, BFloat16>(destination);
            for (int i = 0; i < source.Length; i++)
                to[i] = (BFloat16)source[i];
        }
        else
        {
            throw Unsupported<T>();
        }
    }

    internal static NotSupportedException Unsupported<T>() =>
        new($"Element type {typeof(T).Name} is not one that attention pipelines take: float, Half or BFloat16.");
}
