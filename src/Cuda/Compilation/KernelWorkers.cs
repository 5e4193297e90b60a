using System.Diagnostics;

namespace AttnCompose.Cuda;

/// <summary>The worker processes that may be started, which all batches of a process share.</summary>
/// <param name="Command">How to start one; null where the program cannot be one.</param>
/// <param name="Most">Most that run at a time.</param>
internal sealed record KernelWorkers(ProcessStartInfo? Command, int Most)
{
    /// <summary>Most that are started unasked: a pipeline has up to ten kernels, of which three or four are slow.</summary>
    private const int MostUnasked = 8;

    /// <summary>Bytes that a worker holds at its peak: the runtime, NVRTC and one program.</summary>
    private const long WorkerBytes = 512L << 20;

    private static int s_running;

    /// <summary>Those of this process, as <see cref="CudaSettings"/> say.</summary>
    public static KernelWorkers Current => new(KernelWorker.Command, MostOf(CudaSettings.Current));

    /// <summary>
    /// Where none are named: one a processor, and no more than fit in half of the memory that the machine, or the container, has.
    /// </summary>
    public static int MostOf(CudaSettings settings) => settings.CompileWorkers ?? (int)Math.Min(
        Math.Min(Environment.ProcessorCount, MostUnasked), GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2 / WorkerBytes);

    /// <summary>As many of the wanted ones as may be started now; 0 where other batches have them all.</summary>
    public int Take(int wanted)
    {
        while (Command is not null)
        {
            int running = Volatile.Read(ref s_running);
            int taken = Math.Clamp(Most - running, 0, wanted);
            if (Interlocked.CompareExchange(ref s_running, running + taken, running) == running)
                return taken;
        }
        return 0;
    }

    /// <summary>Gives back what was taken.</summary>
    public void Return(int taken) => Interlocked.Add(ref s_running, -taken);
}
