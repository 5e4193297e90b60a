namespace AttnCompose;

/// <summary>Parts of a problem that a rule indexes a span by. The span has an element for each, which is checked before a run.</summary>
[System.Flags]
public enum RuleAxes
{
    /// <summary>It is indexed by other values; an index outside it throws on the CPU and reads 0 on a CUDA device.</summary>
    None = 0,

    /// <summary>By <c>at.Batch</c>.</summary>
    Batch = 1,

    /// <summary>By <c>at.QueryHead</c>.</summary>
    QueryHeads = 2,

    /// <summary>By <c>at.KeyValueHead</c>.</summary>
    KeyValueHeads = 4,

    /// <summary>By <c>at.Key</c>.</summary>
    Keys = 8,
}
