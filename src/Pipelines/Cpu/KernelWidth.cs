using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

[assembly: InternalsVisibleTo("AttnCompose.Pipelines.Tests")]
[assembly: InternalsVisibleTo("AttnCompose.Benchmarks")]

namespace AttnCompose.Pipelines.Cpu;

/// <summary>Which micro-kernels run: the widest that the processor accelerates, unless a test says otherwise.</summary>
internal static class KernelWidth
{
    [ThreadStatic]
    private static int s_forced;

    /// <summary>512 or 256. Stages ask once a call, on the calling thread.</summary>
    public static int Bits => s_forced != 0 ? s_forced : Vector512.IsHardwareAccelerated ? 512 : 256;

    /// <summary>Makes calls from this thread use a width, 0 for the processor's own.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is not 0, 256 or 512, or the processor lacks it.</exception>
    public static void Force(int bits)
    {
        if (bits is not (0 or 256 or 512) || (bits == 512 && !Vector512.IsHardwareAccelerated))
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "The width is 0, 256 or, where the processor has it, 512.");
        s_forced = bits;
    }
}
