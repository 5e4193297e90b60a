using System.Globalization;

namespace AttnCompose.Cuda;

/// <summary>
/// What a kernel text is compiled for. The one place where compiler options are made. Contraction into fused multiply-adds
/// stays on, as NVRTC has it; approximate arithmetic is never asked for.
/// </summary>
public sealed record CompileOptions
{
    /// <summary>The real architecture: <c>sm_80</c>, <c>sm_90a</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Value of <c>ATTNCOMPOSE_HEAD_DIM</c>; 0 leaves it undefined.</summary>
    public int HeadDim { get; init; }

    /// <summary>Type of <c>ATTNCOMPOSE_ELEMENT</c>; any leaves it undefined.</summary>
    public ElementType Element { get; init; }

    /// <summary>Type of <c>ATTNCOMPOSE_OUTPUT</c>; any leaves it undefined.</summary>
    public ElementType Output { get; init; }

    /// <summary>Value of <c>ATTNCOMPOSE_ATTENTION_TILE</c>; null leaves it undefined, so that the loops have their defaults.</summary>
    public AttentionTile? AttentionTile { get; init; }

    /// <summary>Whether warps are held up at random at their barriers, to bring races to light.</summary>
    public bool Delays { get; init; }

    /// <summary>Whether the assembler reports registers, shared memory and spills, entry by entry.</summary>
    public bool Verbose { get; init; }

    /// <summary>Whether line numbers are kept for profilers.</summary>
    public bool LineInfo { get; init; }

    /// <summary>
    /// Whether NVRTC, from 12.9 on, compiles what it may have compiled before, for measurements. Earlier ones refuse the option.
    /// </summary>
    public bool Forgets { get; init; }

    /// <summary>The options in order.</summary>
    public IReadOnlyList<string> ToArguments()
    {
        List<string> arguments = [$"--gpu-architecture={Architecture}", "--std=c++20"];
        if (HeadDim != 0)
            arguments.Add(string.Create(CultureInfo.InvariantCulture, $"-DATTNCOMPOSE_HEAD_DIM={HeadDim}"));
        if (Element != ElementType.Any)
            arguments.Add($"-DATTNCOMPOSE_ELEMENT={TypeName(Element)}");
        if (Output != ElementType.Any)
            arguments.Add($"-DATTNCOMPOSE_OUTPUT={TypeName(Output)}");
        if (AttentionTile is var (queries, keys, stages))
            arguments.Add(string.Create(CultureInfo.InvariantCulture, $"-DATTNCOMPOSE_ATTENTION_TILE={queries},{keys},{stages}"));
        if (Delays)
            arguments.Add("-DATTNCOMPOSE_DELAYS");
        if (Verbose)
            arguments.Add("-Xptxas=-v");
        if (LineInfo)
            arguments.Add("-lineinfo");
        if (Forgets)
            arguments.Add("--no-cache");
        return arguments;
    }

    /// <summary>
    /// The architecture of a compute capability. From 9.0 on it has the suffix <c>a</c>: the instructions that make these
    /// devices fast exist under that name alone.
    /// </summary>
    public static string ArchitectureOf(int major, int minor) =>
        string.Create(CultureInfo.InvariantCulture, $"sm_{major}{minor}{(major >= 9 ? "a" : "")}");

    /// <summary>The device code's name of an element type.</summary>
    internal static string TypeName(ElementType element) => element switch
    {
        ElementType.Float32 => "float",
        ElementType.Float16 => "attn::f16",
        ElementType.BFloat16 => "attn::bf16",
        _ => throw new ArgumentOutOfRangeException(nameof(element), element, "No device type."),
    };

    /// <inheritdoc/>
    public override string ToString() => string.Join(' ', ToArguments());
}
