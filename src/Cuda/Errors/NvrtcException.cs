namespace AttnCompose.Cuda;

/// <summary>A call of NVRTC failed for a reason other than the source text.</summary>
public sealed class NvrtcException : Exception
{
    internal NvrtcException(int result, string name, string call)
        : base($"{call} failed: {name} ({result}).") => (Result, Name, Call) = (result, name, call);

    internal NvrtcException(string message)
        : base(message) => (Name, Call) = ("", "");

    /// <summary>NVRTC's code.</summary>
    public int Result { get; }

    /// <summary>NVRTC's name of the code.</summary>
    public string Name { get; }

    /// <summary>The function that failed.</summary>
    public string Call { get; }
}

/// <summary>The source of a kernel did not compile.</summary>
public sealed class KernelCompilationException : Exception
{
    internal KernelCompilationException(string source, string options, string log)
        : base($"{source} did not compile with {options}:\n{log}") => (SourceName, Log) = (source, log);

    internal KernelCompilationException(string source, string message)
        : base(message) => (SourceName, Log) = (source, "");

    /// <summary>Name of the source.</summary>
    public string SourceName { get; }

    /// <summary>The compiler's log; empty where it was not reached.</summary>
    public string Log { get; }
}
