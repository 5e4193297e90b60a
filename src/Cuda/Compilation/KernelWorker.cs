using System.Diagnostics;
using System.Text;

namespace AttnCompose.Cuda;

/// <summary>
/// Compiles in a process of its own: NVRTC works on one program at a time inside a process, so the kernels of a pipeline are
/// compiled side by side by several. A worker is the same program, started again with a hidden argument.
/// <code>
/// if (KernelWorker.TryServe(args))
///     return;                       // this process was a worker, and has done its work
/// </code>
/// A program without these lines compiles inside its own process, one kernel after the other.
/// </summary>
public static class KernelWorker
{
    private const string Argument = "attncompose-kernel-worker";

    /// <summary>How to start a worker; null where the program cannot be one.</summary>
    internal static ProcessStartInfo? Command { get; private set; }

    /// <summary>
    /// First in <c>Main</c>: serves, and returns true at its end, where the process was started as a worker; else remembers that
    /// the program can be one.
    /// </summary>
    /// <param name="args">The arguments of the program.</param>
    public static bool TryServe(IReadOnlyList<string> args)
    {
        ArgumentNullException.ThrowIfNull(args);
        if (args is [Argument])
        {
            using Stream requests = Console.OpenStandardInput(), replies = Console.OpenStandardOutput();
            Console.SetOut(Console.Error); // what anything prints is no reply
            Serve(requests, replies);
            return true;
        }
        Command = OwnCommand();
        return false;
    }

    /// <summary>Compiles what is asked for until the requests end, which they also do when the program that asks ends.</summary>
    internal static void Serve(Stream requests, Stream replies)
    {
        using var reader = new BinaryReader(requests, Encoding.UTF8, leaveOpen: true);
        using var writer = new BinaryWriter(replies, Encoding.UTF8, leaveOpen: true);
        while (ReadRequest(reader) is { } kernel)
        {
            try
            {
                CompiledKernel compiled = KernelCompiler.Compile(kernel.Source, kernel.Headers, kernel.Options);
                // Under the key that this process computes, so that another compiler's work is not taken for the asker's.
                var key = KernelCacheKey.Compute(kernel.Source, kernel.Headers, kernel.Options, KernelCompiler.Identity);
                byte[] entry = KernelCacheEntry.Write(key, compiled);
                writer.Write((byte)ReplyKind.Compiled);
                writer.Write(entry.Length);
                writer.Write(entry);
            }
            catch (KernelCompilationException e)
            {
                writer.Write((byte)ReplyKind.Refused);
                writer.Write(e.Log);
            }
            catch (Exception e) when (e is NvrtcException or CudaUnavailableException)
            {
                writer.Write((byte)ReplyKind.NoCompiler);
            }
            writer.Flush();
        }
    }

    internal static void WriteRequest(BinaryWriter writer, PreparedKernel kernel)
    {
        writer.Write(true);
        writer.Write(kernel.Source.Name);
        writer.Write(kernel.Source.CudaText);
        writer.Write(kernel.Source.GeneratorVersion);
        writer.Write(kernel.Headers.Count);
        foreach (DeviceHeader header in kernel.Headers)
        {
            writer.Write(header.Name);
            writer.Write(header.Text);
        }
        CompileOptions options = kernel.Options;
        writer.Write(options.Architecture);
        writer.Write(options.HeadDim);
        writer.Write((int)options.Element);
        writer.Write((int)options.Output);
        writer.Write(options.AttentionTile?.ToString() ?? "");
        writer.Write(options.Delays);
        writer.Write(options.Verbose);
        writer.Write(options.LineInfo);
        writer.Write(options.Forgets);
        writer.Flush();
    }

    /// <summary>The compiled kernel of a reply; null where the worker has no compiler, or another one.</summary>
    /// <exception cref="KernelCompilationException">The text does not compile.</exception>
    /// <exception cref="IOException">The worker ended before it replied.</exception>
    internal static CompiledKernel? ReadReply(BinaryReader reader, PreparedKernel kernel)
    {
        switch ((ReplyKind)reader.ReadByte())
        {
            case ReplyKind.Compiled:
                int bytes = reader.ReadInt32();
                byte[] entry = reader.ReadBytes(bytes);
                return entry.Length == bytes ? KernelCacheEntry.Read(kernel.Key, entry) : throw new EndOfStreamException();
            case ReplyKind.Refused:
                throw new KernelCompilationException(kernel.Source.Name, kernel.Options.ToString(), reader.ReadString());
            default:
                return null;
        }
    }

    private static PreparedKernel? ReadRequest(BinaryReader reader)
    {
        try
        {
            reader.ReadBoolean();
        }
        catch (EndOfStreamException)
        {
            return null;
        }
        string name = reader.ReadString(), text = reader.ReadString(), generator = reader.ReadString();
        var headers = new DeviceHeader[reader.ReadInt32()];
        for (int i = 0; i < headers.Length; i++)
            headers[i] = new DeviceHeader(reader.ReadString(), reader.ReadString());
        var options = new CompileOptions
        {
            Architecture = reader.ReadString(),
            HeadDim = reader.ReadInt32(),
            Element = (ElementType)reader.ReadInt32(),
            Output = (ElementType)reader.ReadInt32(),
            AttentionTile = AttentionTile.TryParse(reader.ReadString(), out AttentionTile tile) ? tile : null,
            Delays = reader.ReadBoolean(),
            Verbose = reader.ReadBoolean(),
            LineInfo = reader.ReadBoolean(),
            Forgets = reader.ReadBoolean(),
        };
        return new(new KernelSource(name, text, []) { GeneratorVersion = generator }, options, headers, default);
    }

    private static ProcessStartInfo? OwnCommand()
    {
        if (Environment.ProcessPath is not { } program)
            return null;
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        // Under the shared host the program is an argument of its own.
        if (Path.GetFileNameWithoutExtension(program).Equals("dotnet", StringComparison.OrdinalIgnoreCase))
            start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
        start.ArgumentList.Add(Argument);
        return start;
    }

    private enum ReplyKind : byte
    {
        Compiled = 1,
        Refused = 2,
        NoCompiler = 3,
    }
}
