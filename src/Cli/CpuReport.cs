using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using AttnCompose.Cpu;

namespace AttnCompose.Cli;

/// <summary>What the CPU path has to work with.</summary>
/// <param name="Architecture">X64, Arm64.</param>
/// <param name="Processors">Logical processors that this process may use.</param>
/// <param name="Features">Instruction sets that matter to the kernels.</param>
/// <param name="VectorBits">Width of the vectors that the kernels use.</param>
/// <param name="MemoryBytes">Memory that this process may use.</param>
/// <param name="Runtime">The .NET runtime and the operating system.</param>
internal sealed record CpuReport(
    string Architecture, int Processors, IReadOnlyList<string> Features, int VectorBits, long MemoryBytes, string Runtime)
{
    public static CpuReport Examine()
    {
        (string Name, bool IsThere)[] features =
        [
            ("AVX2", Avx2.IsSupported), ("FMA", Fma.IsSupported), ("AVX-512F", Avx512F.IsSupported),
            ("AdvSimd", AdvSimd.IsSupported), ("AdvSimd dot product", Dp.IsSupported),
        ];
        return new CpuReport(
            RuntimeInformation.ProcessArchitecture.ToString(),
            Environment.ProcessorCount,
            [.. features.Where(feature => feature.IsThere).Select(feature => feature.Name)],
            CpuDevice.VectorBits,
            GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription.Trim()}");
    }
}
