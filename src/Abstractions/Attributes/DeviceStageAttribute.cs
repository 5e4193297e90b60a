namespace AttnCompose;

/// <summary>
/// The CUDA side of a stage: a header embedded in the stage's assembly, and the struct template in it that has the stage's
/// hooks or phases. The struct lives in namespace <c>attn</c> and takes the stage's config as its one template argument.
/// </summary>
/// <param name="header">File name of the header beside the stage's C#, such as <c>token_coverage.cuh</c>.</param>
[AttributeUsage(AttributeTargets.Class)]
public sealed class DeviceStageAttribute(string header) : Attribute
{
    /// <summary>File name of the header.</summary>
    public string Header { get; } = header;

    /// <summary>Name of the struct template in namespace <c>attn</c>.</summary>
    public required string Type { get; set; }

    /// <summary>Fusion points that the stage's main loop offers. Only an attention kernel sets it.</summary>
    public FusionPoint Offers { get; set; }

    /// <summary>Element types that the stage takes; all of them where none is named.</summary>
    public ElementType[]? Elements { get; set; }
}

/// <summary>
/// A part of a stage's device work that may be a kernel of its own. Phases run in declared order; two neighbours share a
/// kernel when the same thread block consumes what it produced, and the plan says why where they do not. A stage that derives
/// from another has its phases and buffers first.
/// </summary>
/// <param name="name">The static member function of the stage's struct, such as <c>row_partials</c>.</param>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true)]
public sealed class DevicePhaseAttribute(string name) : Attribute
{
    /// <summary>Name of the phase and of its device function.</summary>
    public string Name { get; } = name;

    /// <summary>What one thread block owns.</summary>
    public required PhaseScope Scope { get; set; }

    /// <summary>
    /// Buffers read: <c>query</c>, <c>key</c>, <c>value</c>, <c>token_index</c> or a workspace buffer's name; and <c>heads</c>,
    /// which query heads the launch is for, in a stage with a <see cref="DeviceGatherAttribute"/>.
    /// </summary>
    public string[] Reads { get; set; } = [];

    /// <summary>Buffers written: <c>output</c>, <c>token_index</c> or a workspace buffer's name.</summary>
    public string[] Writes { get; set; } = [];

    /// <summary>Runtime parameters that the phase takes, by property name.</summary>
    public string[] Parameters { get; set; } = [];

    /// <summary>
    /// Whether the phase applies the pipeline's score and mask rules to the scores that it computes: its <c>run</c> takes the
    /// score hook between problem and arguments, and the stage's struct the hook's type as second template argument; those of a
    /// block selector do so anyway. A selector that reads query and key and applies no rules is refused in a pipeline that has
    /// some.
    /// </summary>
    public bool AppliesRules { get; set; }

    /// <summary>One line for the plan and the emitted heading.</summary>
    public string Summary { get; set; } = "";
}

/// <summary>
/// Says that a stage's struct is a hook of the attention main loop: it becomes part of the loop and needs no kernel of its own.
/// </summary>
/// <param name="point">Where it hooks in.</param>
[AttributeUsage(AttributeTargets.Class)]
public sealed class DeviceHookAttribute(FusionPoint point) : Attribute
{
    /// <summary>Where it hooks in.</summary>
    public FusionPoint Point { get; } = point;

    /// <summary>Buffers that it reads, members of the struct: <c>token_index</c> or a workspace buffer's name.</summary>
    public string[] Reads { get; set; } = [];

    /// <summary>Runtime parameters that it takes, by property name; members of the struct in snake_case.</summary>
    public string[] Parameters { get; set; } = [];

    /// <summary>One line for the plan and the emitted heading.</summary>
    public string Summary { get; set; } = "";
}

/// <summary>
/// Says that a compress stage can also gather keys and values ahead of the attention loop, which then reads them through tensor
/// maps. The stage's phases do that; they and the loop are launched by turns for as many query heads at a time as the workspace
/// has room for. In calls with few queries, and where there is no copy engine, the stage is a hook as its
/// <see cref="DeviceHookAttribute"/> says, and its phases are not launched.
/// </summary>
/// <remarks>
/// <see cref="StageAttribute.DescribeWorkspace"/> is asked for one query head of one sequence; heads lie one after another.
/// Rows from a head's last one on are zeroes for at least a key tile (<c>attn::kMostKeyTile</c>), where there is room.
/// </remarks>
/// <param name="type">The struct template of the row source over what was gathered, in the stage's header. Its members are its
/// <see cref="Reads"/>, then <c>maps</c>, the tensor maps.</param>
[AttributeUsage(AttributeTargets.Class)]
public sealed class DeviceGatherAttribute(string type) : Attribute
{
    /// <summary>The struct template in namespace <c>attn</c>.</summary>
    public string Type { get; } = type;

    /// <summary>Workspace buffer of the gathered keys, <c>element</c> [heads, key length, head dim].</summary>
    public required string Key { get; set; }

    /// <summary>Workspace buffer of the gathered values, likewise.</summary>
    public required string Value { get; set; }

    /// <summary>What the row source reads besides; <c>heads</c> among it.</summary>
    public string[] Reads { get; set; } = [];

    /// <summary>One line for the plan and the emitted heading.</summary>
    public string Summary { get; set; } = "";
}

/// <summary>A workspace buffer that the stage's phases share, and the CUDA type of its elements.</summary>
/// <param name="name">Name used in <see cref="DevicePhaseAttribute.Reads"/> and <see cref="DevicePhaseAttribute.Writes"/>.</param>
/// <param name="elementType">CUDA type of an element, such as <c>float</c> or <c>int</c>; <c>element</c> for that of query,
/// key and value, two bytes.</param>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true)]
public sealed class DeviceBufferAttribute(string name, string elementType) : Attribute
{
    /// <summary>Name of the buffer.</summary>
    public string Name { get; } = name;

    /// <summary>CUDA type of an element.</summary>
    public string ElementType { get; } = elementType;

    /// <summary>What it holds and its shape, for the plan.</summary>
    public string Shape { get; set; } = "";
}
