namespace AttnCompose.Cuda;

/// <summary>A call of the CUDA driver failed.</summary>
public sealed class CudaException : Exception
{
    internal CudaException(CudaResult result, string name, string description, string call, string advice = "")
        : base($"{call} failed: {name} ({(int)result}){(description.Length > 0 ? $", {description}" : "")}.{(advice.Length > 0 ? $" {advice}" : "")}") =>
        (Result, Name, Call) = (result, name, call);

    internal CudaException(CudaException first, string call)
        : base($"{call} was not tried: an earlier error made the context unusable. The first error was: {first.Message}", first) =>
        (Result, Name, Call) = (first.Result, first.Name, call);

    /// <summary>The driver's code.</summary>
    public CudaResult Result { get; }

    /// <summary>The driver's name of the code, such as <c>CUDA_ERROR_OUT_OF_MEMORY</c>.</summary>
    public string Name { get; }

    /// <summary>The driver function that failed, or the kernel that was waited for.</summary>
    public string Call { get; }

    /// <summary>Whether the error makes the device's context unusable for the rest of the process.</summary>
    public bool IsSticky => Result.IsSticky();
}
