using System.Globalization;

namespace AttnCompose.Cuda;

/// <summary>
/// Which attention main loop runs at which head dim on an architecture, as the device code itself says: its rule is compiled and
/// read from the device code, so that it is written down once.
/// </summary>
/// <param name="Architecture">The architecture, such as <c>sm_90a</c>.</param>
/// <param name="WgmmaHeadDims">Head dims at which the wgmma loop runs; at the others it is the mma.sync loop.</param>
public sealed record AttentionLoops(string Architecture, IReadOnlyList<int> WgmmaHeadDims)
{
    private const string Variable = "attention_loops";

    /// <summary>Head dims that pipelines take.</summary>
    public static IReadOnlyList<int> HeadDims { get; } = [.. Enumerable.Range(1, 32).Select(i => 8 * i)];

    /// <summary>Asks the device code.</summary>
    /// <exception cref="CudaUnavailableException">NVRTC was not found.</exception>
    /// <exception cref="NvrtcException">NVRTC failed, or it does not know the architecture.</exception>
    public static AttentionLoops Of(string architecture)
    {
        ArgumentNullException.ThrowIfNull(architecture);
        string loops = string.Join(", ", HeadDims.Select(headDim => string.Create(
            CultureInfo.InvariantCulture, $"attn::kHasWgmma && attn::kHasWgmmaLoop<{headDim}> ? 90 : 80")));
        var source = new KernelSource(
            Variable,
            $$"""
            #include <attncompose/attention/main_loop.cuh>
            extern "C" __device__ unsigned char {{Variable}}[] = { {{loops}} };
            """,
            []);
        CompiledKernel compiled = KernelCompiler.Compile(source, new() { Architecture = architecture });
        byte[] answers = CubinFile.Variable(compiled.Cubin.Span, Variable).ToArray();
        return new(architecture, [.. HeadDims.Where((_, i) => answers[i] == 90)]);
    }

    /// <summary>Which loop runs where, and why.</summary>
    public override string ToString() => WgmmaHeadDims.Count == 0
        ? "mma.sync at every head dim: only compute capability 9.0 has wgmma"
        : $"wgmma at head dims {string.Join(", ", WgmmaHeadDims)}, to which its tiles were fitted; mma.sync at the others";
}
