namespace AttnCompose.Cuda;

/// <summary>A kernel text compiled to device code.</summary>
public sealed class CompiledKernel
{
    private readonly Lazy<IReadOnlyList<EntryReport>> _entries;

    internal CompiledKernel(string name, string architecture, string compiler, ReadOnlyMemory<byte> cubin, string log)
    {
        (Name, Architecture, Compiler, Cubin, Log) = (name, architecture, compiler, cubin, log);
        _entries = new(() => PtxasLog.Parse(log));
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
public sealed record EntryReport(
    string Name, int Registers, int StackBytes, int SpillStoreBytes, int SpillLoadBytes, int SharedBytes, int ConstantBytes,
    int Barriers);
