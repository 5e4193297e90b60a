namespace AttnCompose.Cuda;

/// <summary>Result codes of the CUDA driver that the host code tells apart. Others keep their number.</summary>
public enum CudaResult
{
    /// <summary>The call succeeded.</summary>
    Success = 0,

    /// <summary>An argument is out of range.</summary>
    InvalidValue = 1,

    /// <summary>The device has not enough memory.</summary>
    OutOfMemory = 2,

    /// <summary>The driver was not initialised.</summary>
    NotInitialized = 3,

    /// <summary>The driver is shutting down.</summary>
    Deinitialized = 4,

    /// <summary>A stub library stands where the driver should be.</summary>
    StubLibrary = 34,

    /// <summary>There is no CUDA device.</summary>
    NoDevice = 100,

    /// <summary>No device has this ordinal.</summary>
    InvalidDevice = 101,

    /// <summary>The module image is damaged.</summary>
    InvalidImage = 200,

    /// <summary>The calling thread has no valid context.</summary>
    InvalidContext = 201,

    /// <summary>The module has no code for this device.</summary>
    NoBinaryForGpu = 209,

    /// <summary>An uncorrectable memory error occurred.</summary>
    EccUncorrectable = 214,

    /// <summary>An uncorrectable NVLink error occurred.</summary>
    NvLinkUncorrectable = 220,

    /// <summary>The PTX is newer than the driver.</summary>
    UnsupportedPtxVersion = 222,

    /// <summary>A handle is not valid.</summary>
    InvalidHandle = 400,

    /// <summary>A named symbol was not found.</summary>
    NotFound = 500,

    /// <summary>The work is not done yet; not an error.</summary>
    NotReady = 600,

    /// <summary>A kernel touched memory that it may not touch.</summary>
    IllegalAddress = 700,

    /// <summary>A launch asks for more threads, registers or shared memory than the device has.</summary>
    LaunchOutOfResources = 701,

    /// <summary>A kernel ran past the time limit.</summary>
    LaunchTimeout = 702,

    /// <summary>The context was destroyed.</summary>
    ContextIsDestroyed = 709,

    /// <summary>A device-side assertion failed.</summary>
    Assert = 710,

    /// <summary>A kernel overran its stack.</summary>
    HardwareStackError = 714,

    /// <summary>A kernel met an illegal instruction.</summary>
    IllegalInstruction = 715,

    /// <summary>A kernel accessed a misaligned address.</summary>
    MisalignedAddress = 716,

    /// <summary>A kernel used an address of the wrong space.</summary>
    InvalidAddressSpace = 717,

    /// <summary>A kernel's program counter left its code.</summary>
    InvalidProgramCounter = 718,

    /// <summary>A kernel failed.</summary>
    LaunchFailed = 719,

    /// <summary>The stream is being captured, and the call cannot be part of a graph.</summary>
    StreamCaptureUnsupported = 900,

    /// <summary>The capture was invalidated by an earlier error.</summary>
    StreamCaptureInvalidated = 901,

    /// <summary>A graph differs from the executable that it should update in more than arguments.</summary>
    GraphUpdateFailure = 910,

    /// <summary>An error that the driver does not name.</summary>
    Unknown = 999,
}

internal static class CudaResultExtensions
{
    /// <summary>Whether the context is lost with this error: every later call of the process on it fails too.</summary>
    public static bool IsSticky(this CudaResult result) => result is
        CudaResult.EccUncorrectable or CudaResult.NvLinkUncorrectable or CudaResult.IllegalAddress or CudaResult.LaunchTimeout
        or CudaResult.ContextIsDestroyed or CudaResult.Assert or CudaResult.HardwareStackError or CudaResult.IllegalInstruction
        or CudaResult.MisalignedAddress or CudaResult.InvalidAddressSpace or CudaResult.InvalidProgramCounter
        or CudaResult.LaunchFailed;
}
