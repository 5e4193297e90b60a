using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;

namespace AttnCompose.Cuda;

/// <summary>A CUDA text and the assemblies whose embedded headers it includes.</summary>
/// <param name="Name">Name for messages and for the compiler, such as <c>token_sparse_prefill</c>.</param>
/// <param name="CudaText">The text.</param>
/// <param name="HeaderAssemblies">
/// Assemblies of the stages; a header <c>attncompose/stages/&lt;assembly&gt;/&lt;file&gt;.cuh</c> is a resource of that name in
/// one of them. The shared headers of AttnCompose.Cuda are always there.
/// </param>
public sealed partial record KernelSource(string Name, string CudaText, IReadOnlyList<Assembly> HeaderAssemblies)
{
    /// <summary>Version of what wrote the text; part of the cache key.</summary>
    public string GeneratorVersion { get; init; } = "";

    /// <summary>
    /// The text as programs that can be compiled side by side, one a kernel, each under the name of its entry point: what is
    /// before the first heading <c>// -- kernel 1 of n</c>, and one kernel. Lines keep the numbers that they have in the whole
    /// text. A text without headings is one program, itself.
    /// </summary>
    public IReadOnlyList<KernelSource> Programs()
    {
        MatchCollection headings = Heading().Matches(CudaText);
        if (headings.Count == 0)
            return [this];
        string common = CudaText[..headings[0].Index];
        var programs = new KernelSource[headings.Count];
        int line = 1 + common.AsSpan().Count('\n');
        for (int i = 0; i < programs.Length; i++)
        {
            int end = i + 1 < headings.Count ? headings[i + 1].Index : CudaText.Length;
            string kernel = CudaText[headings[i].Index..end];
            programs[i] = this with
            {
                Name = Entry().Match(kernel).Groups[1].Value,
                CudaText = string.Create(CultureInfo.InvariantCulture, $"{common}#line {line} \"{Name}.cu\"\n{kernel}"),
            };
            line += kernel.AsSpan().Count('\n');
        }
        return programs;
    }

    [GeneratedRegex("^// -- kernel [0-9]+ of [0-9]+", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex("""^extern "C" __device__ attn::LaunchShape (\w+)_shape\b""", RegexOptions.Multiline)]
    private static partial Regex Entry();
}
