namespace AttnCompose.Cuda;

/// <summary>A kernel text compiled to device code.</summary>
public sealed class CompiledKernel
{
    private readonly Lazy<IReadOnlyList<EntryReport>> _entries;
    private readonly Lazy<IReadOnlyDictionary<string, LaunchShape>> _shapes;

    internal CompiledKernel(string name, string architecture, string compiler, ReadOnlyMemory<byte> cubin, string log)
    {
        (Name, Architecture, Compiler, Cubin, Log) = (name, architecture, compiler, cubin, log);
        _entries = new(() => PtxasLog.Parse(log));
        _shapes = new(() => CubinFile.Kernels(cubin.Span).Where(kernel => kernel.Value.Shape is not null)
            .ToDictionary(kernel => kernel.Key, kernel => kernel.Value.Shape!.Value));
    }

    /// <summary>Name of the source.</summary>
    public string Name { get; }

    /// <summary>What it was compiled for.</summary>
    public string Architecture { get; }

    /// <summary>Version of NVRTC that compiled it, such as <c>12.4</c>.</summary>
    public string Compiler { get; }

    /// <summary>The device code, an ELF file.</summary>
    public ReadOnlyMemory<byte> Cubin { get; }

    /// <summary>The compiler's log.</summary>
    public string Log { get; }

    /// <summary>
    /// What the assembler says of each entry point; empty unless compiled with <see cref="CompileOptions.Verbose"/>.
    /// </summary>
    public IReadOnlyList<EntryReport> Entries => _entries.Value;

    /// <summary>Warnings of the compiler and the assembler, and what the assembler says of lost performance.</summary>
    public IReadOnlyList<string> Warnings => PtxasLog.Warnings(Log);

    /// <summary>Launch shapes that entry points export, by name.</summary>
    public IReadOnlyDictionary<string, LaunchShape> Shapes => _shapes.Value;

    /// <summary>
    /// What no emitted kernel may have: a warning (an ignored setmaxnreg and a serialised wgmma are such), a spilled register, an
    /// entry point without a launch shape, a wgmma loop without a wgmma. For text that was compiled with <see
    /// cref="CompileOptions.Verbose"/>.
    /// </summary>
    public IEnumerable<string> Faults
    {
        get
        {
            foreach (string warning in Warnings)
                yield return warning;
            if (Entries.Count == 0)
                yield return "the assembler reports no entry point";
            foreach (EntryReport entry in Entries)
            {
                if (entry.SpillStoreBytes + entry.SpillLoadBytes > 0)
                    yield return $"{entry.Name} spills: {entry.SpillStoreBytes} bytes stored, {entry.SpillLoadBytes} loaded";
                if (!Shapes.TryGetValue(entry.Name, out LaunchShape shape))
                    yield return $"{entry.Name} exports no {entry.Name}_shape";
                else if (shape.MainLoop == 90 && entry.Wgmma == 0)
                    yield return $"{entry.Name} says that it is the wgmma loop, and has no wgmma";
            }
        }
    }
}

/// <summary>What the assembler says of one entry point.</summary>
/// <param name="Name">The entry point.</param>
/// <param name="Registers">Registers of a thread.</param>
/// <param name="StackBytes">Bytes of a thread's stack frame.</param>
/// <param name="SpillStoreBytes">Bytes of registers that are stored to memory for want of room.</param>
/// <param name="SpillLoadBytes">Bytes of registers that are loaded back.</param>
/// <param name="SharedBytes">Static shared memory of a block.</param>
/// <param name="ConstantBytes">Constant memory, arguments included.</param>
/// <param name="Barriers">Named barriers.</param>
/// <param name="Wgmma">Instructions <c>wgmma.mma_async</c> in its PTX: products of a whole warpgroup.</param>
/// <param name="Mma">Instructions <c>mma.sync</c> in its PTX: products of one warp.</param>
public sealed record EntryReport(
    string Name, int Registers, int StackBytes, int SpillStoreBytes, int SpillLoadBytes, int SharedBytes, int ConstantBytes,
    int Barriers, int Wgmma, int Mma);
