namespace AttnCompose.Cuda;

/// <summary>
/// Sees the workspace of every call on a device, around the kernels: conformance checks poison it before and read it after;
/// a benchmark marks the times between kernels.
/// </summary>
internal interface ICudaRunObserver
{
    /// <summary>Bytes to add behind the last buffer of a workspace, which no kernel may touch.</summary>
    int GuardBytes { get; }

    /// <summary>The workspace is laid out; no kernel is on the stream yet.</summary>
    void BeforeLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream);

    /// <summary>A kernel is about to be put on the stream.</summary>
    void BeforeKernel(CudaKernel kernel, CudaStream stream)
    {
    }

    /// <summary>All kernels are on the stream.</summary>
    void AfterLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream);
}
