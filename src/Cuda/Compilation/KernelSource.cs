using System.Reflection;

namespace AttnCompose.Cuda;

/// <summary>A CUDA text and the assemblies whose embedded headers it includes.</summary>
/// <param name="Name">Name for messages and for the compiler, such as <c>token_sparse_prefill</c>.</param>
/// <param name="CudaText">The text.</param>
/// <param name="HeaderAssemblies">
/// Assemblies of the stages; a header <c>attncompose/stages/&lt;assembly&gt;/&lt;file&gt;.cuh</c> is a resource of that name in
/// one of them. The shared headers of AttnCompose.Cuda are always there.
/// </param>
public sealed record KernelSource(string Name, string CudaText, IReadOnlyList<Assembly> HeaderAssemblies)
{
    /// <summary>Version of what wrote the text; part of the cache key.</summary>
    public string GeneratorVersion { get; init; } = "";
}
