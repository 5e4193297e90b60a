namespace AttnCompose;

/// <summary>Element type of query, key and value. Accumulation is always float32.</summary>
public enum ElementType
{
    /// <summary>Bound at the first call of <c>Run</c>.</summary>
    Any,

    /// <summary>IEEE binary32. The built-in stages take it on the CPU only.</summary>
    Float32,

    /// <summary>IEEE binary16, <c>System.Half</c>.</summary>
    Float16,

    /// <summary>bfloat16, <c>AttnCompose.BFloat16</c>.</summary>
    BFloat16,
}
